/* Bytes as reply headers, one "name: value" a line, into the parser. What is
 * complete must hold its bounds, and a set that was not understood must hold no window. */
#include "../../src/governor/headers.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct governor_header headers[32];
    struct rate_headers h;
    struct governor_verdict v;
    struct slice rest = slice__of((const char *)data, size);
    size_t n = 0;
    while (n < 32 && rest.len > 0) {
        const char *end = memchr(rest.base, '\n', rest.len);
        size_t len = end == NULL ? rest.len : (size_t)(end - rest.base);
        const char *colon = len == 0 ? NULL : memchr(rest.base, ':', len);
        if (colon != NULL)
            headers[n++] = (struct governor_header){
                .name = slice__of(rest.base, (size_t)(colon - rest.base)),
                .value = slice__of(colon + 1, len - (size_t)(colon - rest.base) - 1)};
        len += end != NULL;
        rest = slice__of(rest.base + len, rest.len - len);
    }
    rate_headers__read(&h, headers, n, INT64_C(1795262400) * NS_PER_S);
    rate_headers__print(&h, headers, n, &v);
    assert(h.n_windows <= WINDOWS_MAX && (h.complete == (h.n_windows > 0)));
    assert(h.retry_after_ns >= -1);
    for (size_t i = 0; i < h.n_windows; i++)
        assert(h.windows[i].limit > 0 && h.windows[i].period_s > 0 &&
               h.windows[i].period_s <= WINDOW_PERIOD_MAX_S);
    assert(strlen(v.raw) < sizeof v.raw && strlen(v.state) < sizeof v.state);
    return 0;
}
