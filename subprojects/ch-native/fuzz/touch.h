/* Every accessor of every view of a block, nested ones included: none may read what is not there.
 */
#ifndef CHN_FUZZ_TOUCH_H
#define CHN_FUZZ_TOUCH_H

#include "block.h"

enum { TOUCH_ROWS = 64 };

static inline void touch_view(const struct chn_view *v) {
    char text[256];
    uint64_t u, first, n, words[4];
    int64_t i;
    double f;
    struct chn_slice s;
    uint8_t uuid[16];
    const struct chn_view *a, *b;
    for (uint64_t row = 0; row <= chn_view__n_rows(v) && row < TOUCH_ROWS; row++) {
        chn_view__is_null(v, row);
        chn_view__u64(v, row, &u);
        chn_view__i64(v, row, &i);
        chn_view__i128(v, row, &u, &i);
        chn_view__i256(v, row, words);
        chn_view__f64(v, row, &f);
        if (chn_view__string(v, row, &s) && s.n > 0 && memchr(s.data, 0, s.n) != NULL) u = 0;
        chn_view__uuid(v, row, uuid);
        chn_view__bytes(v, row, &s);
        if (chn_view__array(v, row, &a, &first, &n) && first + n > chn_view__n_rows(a)) abort();
        if (chn_view__map(v, row, &a, &b, &first, &n) && first + n > chn_view__n_rows(b)) abort();
        chn_view__text(v, row, text, sizeof text);
    }
    for (uint32_t k = 0; (a = chn_view__element(v, k)) != NULL; k++) touch_view(a);
    if (chn_view__array(v, 0, &a, &first, &n)) touch_view(a);
    if (chn_view__map(v, 0, &a, &b, &first, &n)) {
        touch_view(a);
        touch_view(b);
    }
}

static inline void touch_block(const struct chn_block *block) {
    for (size_t i = 0; i < chn_block__n_columns(block); i++)
        touch_view(chn_block__column(block, i));
}

#endif
