/*
 * Type names, builders of them, and values as text: the input is a type, a 0, and texts that end
 * with a 0 each. What a builder makes, the decoder must read: as many rows, each of which prints.
 */
#include "block.h"
#include "request.h"

#include <ch_native/ch_native.h>

#include <stdlib.h>

#include "touch.h"

enum { REVISION = 54460, BYTES_MAX = 1 << 16 };

static void read_back(const struct chn_column *column, uint64_t n_rows) {
    struct chn_buf heads = {0}, pieces = {0}, bytes = {0};
    struct chn_err err;
    chn_request__block(&heads, &pieces, REVISION,
                       &(struct chn_insert){.columns = column, .n_columns = 1, .n_rows = n_rows});
    const struct chn_slice *slices = (const struct chn_slice *)(const void *)pieces.data;
    for (size_t i = 0; i < pieces.n / sizeof *slices; i++)
        chn_buf__put(&bytes, slices[i].data, slices[i].n);
    struct chn_decoder d = {.revision = REVISION, .bytes_max = 16 * BYTES_MAX};
    struct chn_reader r = {bytes.data, bytes.data + bytes.n};
    if (chn_decoder__feed(&d, &r, &err) != 0 || r.at != r.end || d.block.n_rows != n_rows) abort();
    touch_block(&d.block);
    chn_decoder__fini(&d);
    struct chn_buf *bufs[] = {&heads, &pieces, &bytes};
    for (size_t i = 0; i < 3; i++) chn_buf__fini(bufs[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct chn_err err;
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    size_t n = strlen(text);
    struct chn_type *type = chn_type__parse(text, n, &err);
    if (type != NULL && !chn_type__equal(type, type)) abort();
    chn_type__free(type);
    struct chn_builder *b = chn_builder__new("c", text, BYTES_MAX, &err);
    struct chn_column column;
    if (b != NULL) {
        for (int i = 0; i < 3; i++) chn_builder__default(b);
        for (size_t at = n + 1; at < size; at += strlen(text + at) + 1)
            chn_builder__text(b, text + at, strlen(text + at));
        /* A row of a nested type may have failed half-way: then there is no column. */
        if (chn_builder__column(b, &column) == 0 && chn_builder__n_rows(b) > 0)
            read_back(&column, chn_builder__n_rows(b));
    }
    chn_builder__free(b);
    free(text);
    return 0;
}
