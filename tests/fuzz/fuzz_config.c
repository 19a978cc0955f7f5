/* Any bytes as a configuration: an error or a configuration that prints and loads again. */
#include "souk/config.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *no_env(const char *name) { return name[0] == 'A' ? "a: b" : NULL; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct config *c, *again;
    struct config_errors errs;
    struct slice text = slice__of((const char *)data, size);
    struct buf printed = buf__init(4 * CONFIG_BYTES_MAX);
    /* Reading any file the input names is none of the fuzzer's business. */
    if (memmem(data, size, "password_file", 13) != NULL) return 0;
    if (config__parse("fuzz", text, no_env, &c, &errs) != 0) {
        if (errs.n == 0) abort();
        return 0;
    }
    if (config__print(c, &printed) != 0) abort();
    if (config__parse("again", buf__slice(&printed), no_env, &again, &errs) != 0) abort();
    config__free(again);
    config__free(c);
    buf__fini(&printed);
    return 0;
}
