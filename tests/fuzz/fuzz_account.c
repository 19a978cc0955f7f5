/* Any bytes as a list of tabs, then as the tab that the list begins with. */
#include "souk/source.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const struct stream_spec *stream, struct slice body) {
    static const struct decode_context context = {.n_followed = 0};
    const struct page page = {.stream = stream, .cursor_to = SLICE_LIT("1/2/3"), .body = body};
    struct rows rows = {0};
    struct err e = {0};
    int code = source__find("account_stashes")->decode(&page, &context, &rows, &e);
    assert(code == 0 || rows__count(&rows) == 0);
    rows__fini(&rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct stream_spec stream = {.realm = "pc", .league = "Standard", .kind = "00"};
    static const struct source_settings settings = {.base_url = "http://h", .period_ns = 1};
    const struct source_type *account = source__find("account_stashes");
    struct slice body = slice__of((const char *)data, size);
    struct stream_state at = {.n_failures = 2}; /* What cannot be read is passed over. */
    struct buf memo = {0};
    decode(&stream, body);
    for (int i = 0; i < 3; i++) {
        const struct source_answer answer = {.status = i == 2 ? 404 : 200, .body = body};
        struct page_facts facts;
        struct source_request request;
        struct err e = {0};
        account->plan(&settings, &stream, &at, &request);
        account->judge(&stream, &at, &answer, &facts, &e);
        if (facts.keep.len > 0) decode(&stream, buf__slice(&facts.keep));
        if (facts.memo.len > 0) {
            buf__fini(&memo);
            memo = facts.memo;
            at.memo = buf__slice(&memo);
        }
        buf__fini(&facts.keep);
    }
    buf__fini(&memo);
    return 0;
}
