/* Any bytes as a digest of the currency exchange, with each status that judge tells apart, and as a
 * list of leagues. */
#include "souk/source.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_as(const struct source_type *type, const struct stream_spec *stream, struct slice from,
                      struct slice body) {
    static const struct decode_context context = {.n_followed = 0};
    const struct page page = {.stream = stream, .cursor_from = from, .received_wall_ns = INT64_C(1800000000) * NS_PER_S,
                              .body = body};
    struct rows rows = {0};
    struct err e = {0};
    int decoded = type->decode(&page, &context, &rows, &e);
    assert(decoded == 0 || rows__count(&rows) == 0);
    rows__fini(&rows);
}

static void judge_as(const struct source_type *type, const struct stream_spec *stream, const char *cursor, int status,
                     struct slice body) {
    const struct source_answer answer = {.status = status, .body = body};
    struct stream_state at = {.now = {.wall_ns = INT64_C(1800000000) * NS_PER_S}};
    struct page_facts facts;
    struct err e = {0};
    for (size_t i = 0; cursor[i] != '\0'; i++) at.cursor[i] = cursor[i];
    int code = type->judge(stream, &at, &answer, &facts, &e);
    assert(code != 0 || facts.verdict != PAGE_INVALID);
    assert(facts.verdict != PAGE_NEW || facts.next_cursor[0] != '\0');
    if (facts.verdict == PAGE_NEW)
        decode_as(type, stream, slice__str(cursor), facts.keep.len > 0 ? buf__slice(&facts.keep) : body);
    buf__fini(&facts.memo);
    buf__fini(&facts.keep);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct stream_spec cdn = {.realm = "pc", .kind = "cdn/latest"},
                                    oauth = {.realm = "xbox", .kind = "oauth/1799996400"},
                                    leagues = {.realm = "pc", .kind = "public", .path = "/leagues"};
    const struct source_type *exchange = source__find("currency_exchange"), *list = source__find("leagues");
    struct slice body = slice__of((const char *)data, size);
    judge_as(exchange, &cdn, "1799989200", 200, body);
    judge_as(exchange, &cdn, "", 404, body);
    judge_as(exchange, &oauth, "", 200, body);
    judge_as(exchange, &oauth, "1722027600", 404, body);
    decode_as(exchange, &cdn, SLICE_LIT("1799989200"), body);
    judge_as(list, &leagues, "", 200, body);
    decode_as(list, &leagues, SLICE_LIT(""), body);
    return 0;
}
