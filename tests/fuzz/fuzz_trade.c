/* Any bytes as an answer of the trade site: a resource, its heads, and a gateway's page. */
#include "souk/lag.h"
#include "souk/source.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct stream_spec streams[] = {
        {.kind = "static"}, {.kind = "change-ids"}, {.kind = "listings"}};
    static const int statuses[] = {200, 403};
    static const struct stream_state at = {.cursor = "a"};
    static const struct decode_context context = {.n_followed = 0};
    const struct source_type *trade = source__find("trade_data");
    struct slice body = slice__of((const char *)data, size);
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        for (size_t k = 0; k < 2; k++) {
            const struct source_answer answer = {.status = statuses[k], .body = body};
            struct page_facts facts;
            struct err e = {0};
            int judged = trade->judge(&streams[i], &at, &answer, &facts, &e);
            assert(judged == 0 || facts.verdict == PAGE_INVALID ||
                   facts.verdict == PAGE_UNAVAILABLE);
            struct slice head = lag__head(slice__str(facts.next_cursor), "pc");
            struct lag lag = {0};
            lag__measure(&lag, 2, &(struct lag_facts){.cursor = head, .head = head, .head_mono_ns = 1});
            buf__fini(&facts.memo);
        }
        const struct page page = {
            .stream = &streams[i], .received_wall_ns = NS_PER_S, .body = body};
        struct rows rows = {0};
        struct err e = {0};
        int decoded = trade->decode(&page, &context, &rows, &e);
        assert(decoded == 0 || rows__count(&rows) == 0);
        rows__fini(&rows);
    }
    return 0;
}
