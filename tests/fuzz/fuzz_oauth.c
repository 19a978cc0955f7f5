/* Any bytes as an answer of the token endpoint, granted or refused, and as what was kept of one. */
#include "souk/oauth.h"
#include "souk/source.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int statuses[] = {200, 400, 503};
    static const struct stream_spec streams[] = {{.kind = "service:psapi", .mark = "1a2b"},
                                                 {.kind = "account:stashes", .mark = "L1a2b"}};
    static const struct stream_state at = {.login = "0123456789abcdef", .now = {.wall_ns = 1}};
    static const struct decode_context context = {.n_followed = 0};
    const struct source_type *oauth = source__find("oauth");
    struct slice body = slice__of((const char *)data, size);
    for (size_t i = 0; i < 2 * sizeof statuses / sizeof *statuses; i++) {
        const struct stream_spec stream = streams[i % 2];
        const struct source_answer answer = {.status = statuses[i / 2], .body = body};
        struct page_facts facts;
        struct oauth_grant grant;
        struct err e = {0};
        int code = oauth->judge(&stream, &at, &answer, &facts, &e);
        assert((code == 0) == (facts.verdict == PAGE_NEW));
        oauth__read(buf__slice(&facts.memo), &grant);
        for (size_t k = 0; k < grant.token.len; k++) /* It goes into a header line. */
            assert(grant.token.base[k] > ' ' && grant.token.base[k] < 0x7f);
        const struct page page = {.stream = &stream, .body = buf__slice(&facts.keep)};
        struct rows rows = {0};
        /* What judge keeps can be read. */
        if (code == 0) assert(oauth->decode(&page, &context, &rows, &e) == 0 && rows__count(&rows) == 1);
        rows__fini(&rows);
        assert(facts.secret.len == 0 || (oauth__is_login(&stream) && statuses[i / 2] == 200));
        buf__fini(&facts.secret);
        buf__fini(&facts.memo);
        buf__fini(&facts.keep);
    }
    const struct page page = {.stream = &streams[0], .body = body};
    struct rows rows = {0};
    struct err e = {0};
    int decoded = oauth->decode(&page, &context, &rows, &e);
    assert(decoded == 0 || rows__count(&rows) == 0);
    rows__fini(&rows);
    return 0;
}
