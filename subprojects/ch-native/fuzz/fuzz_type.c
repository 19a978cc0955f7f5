/* Type names, and builders of them. */
#include <ch_native/ch_native.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct chn_err err;
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    struct chn_type *type = chn_type__parse(text, size, &err);
    if (type != NULL && !chn_type__equal(type, type)) abort();
    chn_type__free(type);
    struct chn_builder *b = chn_builder__new("c", text, 1 << 16, &err);
    struct chn_column column;
    if (b != NULL) {
        for (int i = 0; i < 3; i++) chn_builder__default(b);
        chn_builder__column(b, &column);
    }
    chn_builder__free(b);
    free(text);
    return 0;
}
