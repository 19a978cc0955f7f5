/* Any bytes as a page of psapi: judge and decode agree on what a page is, and neither breaks. */
#include "souk/source.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct stream_spec pc = {.key = "pc", .realm = "pc"};
    static const struct stream_state at = {.cursor = "10-20-30-40-50"};
    static const char *const followed[] = {"Standard"};
    static const struct decode_context context = {.followed = followed, .n_followed = 1};
    const struct source_type *psapi = source__find("psapi");
    struct slice body = slice__of((const char *)data, size);
    const struct source_answer answer = {.status = 200, .body = body};
    struct page_facts facts;
    struct err e = {0};
    int judged = psapi->judge(&pc, &at, &answer, &facts, &e);
    const struct page page = {
        .stream = &pc, .cursor_from = SLICE_LIT("a"), .cursor_to = SLICE_LIT("b"), .body = body};
    struct rows rows = {0};
    int decoded = psapi->decode(&page, &context, &rows, &e);
    if (judged == 0) assert(decoded == 0); /* What was accepted can be decoded. */
    assert(decoded == 0 || rows__count(&rows) == 0);
    rows__fini(&rows);
    return 0;
}
