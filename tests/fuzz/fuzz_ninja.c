/* Any bytes as an overview of poe.ninja, in each of its three shapes. */
#include "souk/source.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct stream_spec streams[] = {
        {.league = "Standard", .kind = "exchange/Currency"},
        {.league = "Standard", .kind = "item/UniqueWeapon"},
        {.league = "Standard", .kind = "currency/Currency"},
    };
    static const struct stream_state at = {.cursor = ""};
    static const struct decode_context context = {.n_followed = 0};
    const struct source_type *ninja = source__find("poe_ninja");
    struct slice body = slice__of((const char *)data, size);
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        const struct source_answer answer = {.status = 200, .body = body};
        struct page_facts facts;
        struct err e = {0};
        ninja->judge(&streams[i], &at, &answer, &facts, &e);
        const struct page page = {.stream = &streams[i], .body = body};
        struct rows rows = {0};
        int decoded = ninja->decode(&page, &context, &rows, &e);
        assert(decoded == 0 || rows__count(&rows) == 0);
        rows__fini(&rows);
    }
    return 0;
}
