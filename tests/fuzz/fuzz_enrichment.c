/* Any bytes as a page of poedb and as an answer of the wiki. */
#include "souk/source.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct stream_spec streams[] = {
        {.key = "poedb", .path = "/Currency_Exchange,Modifiers"},
        {.key = "wiki", .path = "/mods"},
    };
    static const struct decode_context context = {.n_followed = 0};
    const struct source_type *type = source__find("enrichment");
    const struct source_answer answer = {.status = 200, .body = slice__of((const char *)data, size)};
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        const struct stream_state at = {.cursor = "s3.d1.p0.o500.t5"};
        struct page_facts facts;
        struct err e = {0};
        int code = type->judge(&streams[i], &at, &answer, &facts, &e);
        assert((code == 0) == (facts.verdict == PAGE_NEW));
        const struct page page = {.stream = &streams[i], .body = code == 0 ? buf__slice(&facts.keep) : answer.body};
        struct rows rows = {0};
        int decoded = type->decode(&page, &context, &rows, &e);
        assert(decoded == 0 || rows__count(&rows) == 0);
        assert(code != 0 || decoded == 0); /* What judge takes has rows, or refusals. */
        rows__fini(&rows);
        buf__fini(&facts.keep);
    }
    return 0;
}
