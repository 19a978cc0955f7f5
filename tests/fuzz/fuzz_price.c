/* Any bytes as a note and as the name of a tab: a price that is taken is above 0 and in bounds, in a
 * currency that is one, and comes from somewhere. */
#include "souk/currency.h"
#include "souk/price_note.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(enum price_verdict v, const struct price *p) {
    bool good = v == PRICE_GOOD;
    assert((unsigned)v < PRICE__N);
    assert(good == (p->unit > 0) && good == (p->total > 0) && good == (p->lot > 0));
    assert(good == (p->number != CURRENCY_NONE));
    assert(slice__eq(p->currency, currency__id(p->number)) && good == (p->currency.len > 0));
    assert(p->unit <= PRICE_MAX && p->total <= PRICE_MAX && p->lot <= PRICE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice text = slice__of((const char *)data, size);
    struct price_tab tab;
    struct price p;
    enum price_source source;
    check(price_note__read(text, &p), &p);
    tab.verdict = price_note__read(text, &tab.price);
    for (int bulk = 0; bulk < 2; bulk++) {
        for (size_t cut = 0; cut <= size; cut += 1 + size / 8) { /* A note, then a forum note. */
            const struct price_notes said = {.note = slice__of(text.base, cut),
                                             .forum_note = slice__of(text.base + cut, size - cut),
                                             .tab = &tab,
                                             .is_bulk = bulk == 1};
            enum price_verdict v = price_note__resolve(&said, &p, &source);
            check(v, &p);
            assert((v == PRICE_GOOD) == (source != PRICE_FROM_NOWHERE));
            assert(!p.is_ratio || bulk == 1);
        }
    }
    return 0;
}
