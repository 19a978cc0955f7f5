/* Any bytes as a note and as the name of a tab: a price that is taken is above 0 and in bounds. */
#include "souk/price_note.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const enum price_where places[] = {PRICE_IN_NOTE, PRICE_IN_TAB_NAME};
    for (size_t i = 0; i < 2; i++) {
        struct price p;
        enum price_verdict v =
            price_note__read(slice__of((const char *)data, size), places[i], &p);
        bool good = v == PRICE_GOOD;
        assert(good == (p.unit > 0) && good == (p.total > 0) && good == (p.lot > 0));
        assert(good == (p.currency.len > 0) && p.currency.len <= PRICE_CURRENCY_MAX);
        assert(p.unit <= PRICE_MAX && p.total <= PRICE_MAX && p.lot <= PRICE_MAX);
    }
    return 0;
}
