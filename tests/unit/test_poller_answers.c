/* What sources may ask of the poller beyond a GET and a 200: a source of this file that says what it
 * wants, and keeps what it was asked. */
#include "test_poller_fixture.h"

/* How the source behaves; one a test. */
static struct behaviour {
    bool done_at_end, idle_after_first, wants_token, posts, errors, secret, keep_fails, login;
    int expect_status;
    enum source_class class;
} how;

static int demo_streams(const struct source_settings *settings, struct stream_spec *out, struct err *e) {
    (void)settings;
    (void)e;
    out[0] = (struct stream_spec){.key = "k", .service = "demo", .endpoint = "e", .path = "/demo"};
    return 1;
}

static void demo_plan(const struct source_settings *settings, const struct stream_spec *stream,
                      const struct stream_state *state, struct source_request *out) {
    *out = (struct source_request){.class = how.class, .expect_status = how.expect_status};
    snprintf(out->endpoint, sizeof out->endpoint, "%s", stream->endpoint);
    snprintf(out->url, sizeof out->url, "%s/demo/%s?memo=%.*s", settings->base_url, state->cursor, SLICE_FMT(state->memo));
    if (state->last_reply_mono_ns != 0) out->not_before_mono_ns = state->last_reply_mono_ns + settings->period_ns;
    if (how.wants_token) out->scope = "service:demo";
    if (how.posts) {
        out->method = "POST";
        snprintf(out->body, sizeof out->body, "a=1&b=2");
    }
    out->login = how.login;
    out->done = how.done_at_end && strcmp(state->cursor, "3") == 0;
    if (how.idle_after_first && state->last_reply_mono_ns != 0 && !state->poked) out->not_before_mono_ns = INT64_MAX;
}

/* The body names the next cursor; "no" is what the upstream does not give. */
static int demo_judge(const struct stream_spec *stream, const struct stream_state *state,
                      const struct source_answer *answer, struct page_facts *out, struct err *e) {
    (void)stream;
    (void)state;
    *out = (struct page_facts){.verdict = PAGE_INVALID};
    if (how.login) {
        out->secret = buf__init(64);
        buf__append_slice(&out->secret, answer->body);
    }
    if (answer->status == 0) {
        out->verdict = PAGE_UNAVAILABLE;
        return err__setf(e, ERR_UNAVAILABLE, "hung up");
    }
    if (answer->status >= 500) return err__setf(e, ERR_PROTOCOL, "demo: status %d", answer->status);
    if (answer->status == 404 && how.expect_status == 404) {
        out->verdict = PAGE_EMPTY;
        return 0;
    }
    if (answer->status != 200 || slice__eq(answer->body, SLICE_LIT("no"))) {
        out->verdict = PAGE_UNAVAILABLE;
        return err__setf(e, ERR_UNAVAILABLE, "not granted");
    }
    out->verdict = PAGE_NEW;
    snprintf(out->next_cursor, sizeof out->next_cursor, "%.1s", answer->body.base);
    if (!how.secret) return 0;
    out->memo = buf__init(64);
    out->keep = buf__init(how.keep_fails ? 4 : 64);
    buf__append_slice(&out->memo, answer->body);
    buf__append_str(&out->keep, "redacted");
    return 0;
}

static int demo_decode(const struct page *page, const struct decode_context *context, struct rows *out, struct err *e) {
    (void)page;
    (void)context;
    (void)out;
    (void)e;
    return 0;
}

static int demo_cursor(const char *text, char out[CURSOR_MAX], struct err *e) {
    (void)e;
    snprintf(out, CURSOR_MAX, "%s", text);
    return 0;
}

static const struct table_desc *const no_tables[] = {NULL};
static struct source_type demo = {.name = "demo", .tables = no_tables, .streams = demo_streams, .plan = demo_plan,
                                  .judge = demo_judge, .decode = demo_decode, .cursor = demo_cursor};

static void make_demo(struct fixture *f, struct behaviour b, const struct script *script) {
    how = b;
    demo.judges_errors = b.errors;
    open_source(f, &demo, script);
}

static void open_demo(struct fixture *f, struct behaviour b, const struct script *script) {
    make_demo(f, b, script);
    poller__start(f->poller);
}

#define SAYS(text, length) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n" text
#define STATUS(line) "HTTP/1.1 " line "\r\nContent-Length: 2\r\n\r\n{}"

static void test_a_post_has_its_body_and_its_method_in_the_log(void **state) {
    static const struct script script = {{SAYS("1", "1")}, 1};
    struct fixture *f = *state;
    open_demo(f, (struct behaviour){.posts = true}, &script);
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_non_null(strstr(f->last_request, "POST /demo/"));
    assert_non_null(strstr(f->last_request, "Content-Type: application/x-www-form-urlencoded"));
}

static void test_an_end_is_an_end(void **state) {
    static const struct script script = {{SAYS("1", "1"), SAYS("2", "1"), SAYS("3", "1")}, 3};
    struct fixture *f = *state;
    open_demo(f, (struct behaviour){.done_at_end = true}, &script);
    UNTIL(f, status_of(f).done);
    size_t n = f->n_requests;
    for (int i = 0; i < 200; i++) turn(f);
    assert_int_equal(f->n_requests, n);
    assert_string_equal(status_of(f).state->cursor, "3");
    poller__poke(f->poller); /* Nothing is left to ask for. */
    for (int i = 0; i < 100; i++) turn(f);
    assert_int_equal(f->n_requests, n);
}

static void test_a_poke_asks_at_once(void **state) {
    static const struct script script = {{SAYS("1", "1"), SAYS("2", "1")}, 2};
    struct fixture *f = *state;
    open_demo(f, (struct behaviour){.idle_after_first = true}, &script);
    UNTIL(f, status_of(f).counts.fresh == 1);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    for (int i = 0; i < 200; i++) turn(f);
    assert_int_equal(f->n_requests, 1);
    poller__poke(f->poller);
    UNTIL(f, status_of(f).counts.fresh == 2);
    for (int i = 0; i < 200; i++) turn(f);
    assert_int_equal(f->n_requests, 2); /* Once, not for good. */
}

static void test_what_is_not_given_is_a_state(void **state) {
    static const struct script script = {{SAYS("1", "1"), SAYS("no", "2"), SAYS("2", "1")}, 3};
    struct fixture *f = *state;
    struct kept kept;
    open_demo(f, (struct behaviour){.idle_after_first = true}, &script);
    UNTIL(f, status_of(f).counts.fresh == 1);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    poller__poke(f->poller);
    UNTIL(f, status_of(f).counts.unavailable == 1);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    assert_true(status_of(f).state->unavailable);
    assert_int_equal(status_of(f).state->n_failures, 0);
    assert_string_equal(status_of(f).last_error, "not granted");
    assert_string_equal(status_of(f).state->cursor, "1");
    read_spool(f, &kept);
    assert_string_equal(kept.status, "unavailable");
    assert_false(kept.last.flags & REQUEST_CHECKPOINT); /* Nothing is fresh because of it. */
    poller__poke(f->poller);
    UNTIL(f, status_of(f).counts.fresh == 2);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    assert_false(status_of(f).state->unavailable);
    assert_string_equal(status_of(f).last_error, "");
}

static void test_other_statuses_reach_judge_only_if_it_wants_them(void **state) {
    static const struct script script = {{STATUS("404 Not Found"), SAYS("1", "1")}, 2};
    struct fixture *f = *state;
    open_demo(f, (struct behaviour){.errors = true, .expect_status = 404}, &script);
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_int_equal(status_of(f).counts.empty, 1);
    assert_int_equal(status_of(f).counts.errors, 0);
    close_poller(f);
    f->n_requests = 0;
    open_demo(f, (struct behaviour){.expect_status = 404}, &script);
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_int_equal(status_of(f).counts.errors, 1);
}

static void test_a_failure_that_judge_saw_is_one(void **state) {
    static const struct script script = {{STATUS("500 Internal Server Error"), SAYS("1", "1")}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_demo(f, (struct behaviour){.errors = true}, &script);
    UNTIL(f, status_of(f).counts.errors == 1);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    assert_int_equal(status_of(f).counts.invalid, 0);
    assert_string_equal(status_of(f).last_error, "demo: status 500");
    read_spool(f, &kept);
    assert_string_equal(kept.status, "error");
    UNTIL(f, status_of(f).counts.fresh == 1);
}

/* Ten 404 in ten minutes disable an endpoint; what the source expects is none of them. */
static void test_an_expected_status_spends_no_budget(void **state) {
    static const struct script script = {{STATUS("404 Not Found")}, 1};
    struct fixture *f = *state;
    struct endpoint_status ep;
    open_demo(f, (struct behaviour){.errors = true, .expect_status = 404}, &script);
    UNTIL(f, status_of(f).counts.empty == 12);
    governor__status(f->governor, 0, &ep);
    assert_int_not_equal(ep.state, ENDPOINT_DISABLED);
    assert_int_equal(ep.n_errors, 0);
}

static void test_secrets_stay_in_memory(void **state) {
    static const struct script script = {{SAYS("1-s3cret", "8"), SAYS("2-s3cret", "8")}, 2};
    struct fixture *f = *state;
    struct spool_status spool;
    struct spool_reader r;
    struct spool_record rec;
    struct err e;
    struct buf body = buf__init(1024);
    size_t n_pages = 0;
    open_demo(f, (struct behaviour){.secret = true, .idle_after_first = true}, &script);
    UNTIL(f, status_of(f).counts.fresh == 1);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    poller__poke(f->poller);
    UNTIL(f, status_of(f).counts.fresh == 2);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    assert_true(slice__eq(poller__memo(f->poller), SLICE_LIT("2-s3cret")));
    assert_non_null(strstr(f->last_request, "?memo=1-s3cret ")); /* What plan sees of it. */
    spool__status(f->spool, &spool);
    spool_reader__init(&r, f->spool, spool.first_lsn);
    while (spool_reader__next(&r, spool.synced_lsn, &rec, &e) == 1) {
        struct request_facts facts;
        struct slice packed;
        if (rec.type != SPOOL_PAGE) continue;
        assert_int_equal(journal__decode(rec.payload, &facts, &packed), 0);
        buf__clear(&body);
        assert_int_equal(journal__decompress(packed, 1024, &body), 0);
        assert_true(slice__eq(buf__slice(&body), SLICE_LIT("redacted")));
        n_pages++;
    }
    spool_reader__fini(&r);
    buf__fini(&body);
    assert_int_equal(n_pages, 2);
}

static void test_without_memory_a_secret_is_not_kept_either(void **state) {
    static const struct script script = {{SAYS("1-s3cret", "8")}, 1};
    struct fixture *f = *state;
    struct kept kept;
    open_demo(f, (struct behaviour){.secret = true, .keep_fails = true}, &script);
    UNTIL(f, status_of(f).counts.invalid == 1 && status_of(f).doing == POLL_IDLE);
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 0);
    assert_int_equal(poller__memo(f->poller).len, 0);
    assert_non_null(strstr(status_of(f).last_error, "no memory"));
}

struct steered {
    bool done;
};
static void on_steered(void *data, int status) {
    assert_int_equal(status, 0);
    ((struct steered *)data)->done = true;
}

static void test_a_cursor_set_by_hand_starts_without_a_memo(void **state) {
    static const struct script script = {{SAYS("5-skip", "6"), SAYS("2-look", "6")}, 2};
    struct fixture *f = *state;
    struct err e = {0};
    struct steered steered = {0};
    open_demo(f, (struct behaviour){.secret = true, .idle_after_first = true}, &script);
    UNTIL(f, status_of(f).counts.fresh == 1 && status_of(f).doing == POLL_IDLE);
    assert_int_equal(poller__steer(f->poller, POLLER_SET, "1", "a test", on_steered, &steered, &e), 0);
    UNTIL(f, steered.done);
    assert_int_equal(poller__memo(f->poller).len, 0);
    poller__poke(f->poller);
    UNTIL(f, status_of(f).counts.fresh == 2);
    assert_non_null(strstr(f->last_request, "/demo/1?memo= "));
}

/* A page that is larger than is taken will be so the next time: slowly again, until its cursor is passed by hand. */
static void test_a_page_that_is_too_large_rests_and_can_be_passed(void **state) {
    static const struct script script = {{SAYS("1", "1"), SAYS("2xxxxxxxxxxxxxxx", "16"), SAYS("2xxxxxxxxxxxxxxx", "16"),
                                          SAYS("4", "1")}, 4};
    struct fixture *f = *state;
    struct err e = {0};
    struct steered steered = {0};
    struct kept kept;
    f->body_max = 8;
    open_demo(f, (struct behaviour){.class = SOURCE_TAIL}, &script);
    UNTIL(f, status_of(f).n_oversized == 1 && status_of(f).doing == POLL_IDLE);
    assert_string_equal(status_of(f).state->cursor, "1");
    assert_in_range((status_of(f).next_mono_ns - f->clock.mono_ns) / NS_PER_S, 8, 10);
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 1);
    assert_string_equal(kept.status, "error"); /* What was refused is in the log, without its body. */
    UNTIL(f, status_of(f).n_oversized == 2 && status_of(f).doing == POLL_IDLE);
    assert_in_range((status_of(f).next_mono_ns - f->clock.mono_ns) / NS_PER_S, 18, 20);
    assert_int_equal(poller__steer(f->poller, POLLER_SET, "3", "it is too large", on_steered, &steered, &e), 0);
    UNTIL(f, steered.done);
    assert_int_equal(status_of(f).n_oversized, 0);
    UNTIL(f, status_of(f).counts.fresh >= 2 && status_of(f).doing == POLL_IDLE);
    assert_string_equal(status_of(f).state->cursor, "4");
}

/* Tokens. */

struct tokens {
    int status; /* What bearer answers. */
    char token[32], refused[32];
    int n_refused;
};

static int on_bearer(void *ctx, const char *source, const char *scope, char *out, size_t size, struct err *e) {
    struct tokens *t = ((struct fixture *)ctx)->data;
    assert_string_equal(source, "demo");
    assert_string_equal(scope, "service:demo");
    if (t->status != 0) return err__setf(e, t->status, "scope service:demo is not granted");
    snprintf(out, size, "%s", t->token);
    return 0;
}

static void on_bearer_refused(void *ctx, const char *source, const char *scope, const char *token) {
    struct tokens *t = ((struct fixture *)ctx)->data;
    (void)source;
    (void)scope;
    t->n_refused++;
    snprintf(t->refused, sizeof t->refused, "%s", token);
    snprintf(t->token, sizeof t->token, "second");
}

static void test_a_token_is_waited_for_and_sent(void **state) {
    static const struct script script = {{SAYS("1", "1")}, 1};
    struct fixture *f = *state;
    struct tokens tokens = {.status = ERR_UNAVAILABLE, .token = "first"};
    f->data = &tokens;
    f->bearer = on_bearer;
    open_demo(f, (struct behaviour){.wants_token = true}, &script);
    for (int i = 0; i < 300; i++) turn(f);
    assert_int_equal(f->n_requests, 0);
    assert_false(status_of(f).quiet); /* It is on its way. */
    tokens.status = 0;
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_non_null(strstr(f->last_request, "Authorization: Bearer first\r\n"));
}

static void test_without_a_grant_the_stream_is_quiet(void **state) {
    static const struct script script = {{SAYS("1", "1")}, 1};
    struct fixture *f = *state;
    struct tokens tokens = {.status = ERR_REFUSED, .token = "first"};
    f->data = &tokens;
    f->bearer = on_bearer;
    open_demo(f, (struct behaviour){.wants_token = true}, &script);
    UNTIL(f, status_of(f).quiet);
    assert_string_equal(status_of(f).last_error, "scope service:demo is not granted");
    assert_int_equal(f->n_requests, 0);
    assert_int_equal(status_of(f).counts.errors, 0);
    tokens.status = 0;
    poller__poke(f->poller); /* Somebody granted it, and does not want to wait for a minute. */
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_false(status_of(f).quiet);
}

/* There should be a token, and the upstream takes none for now: no normal state, and it ends by itself. */
static void test_while_no_token_is_taken_the_stream_says_so_and_goes_on(void **state) {
    static const struct script script = {{SAYS("1", "1")}, 1};
    struct fixture *f = *state;
    struct tokens tokens = {.status = ERR_AUTH, .token = "first"};
    f->data = &tokens;
    f->bearer = on_bearer;
    open_demo(f, (struct behaviour){.wants_token = true}, &script);
    UNTIL(f, status_of(f).quiet);
    assert_true(status_of(f).tokenless);
    assert_string_equal(status_of(f).scope, "service:demo");
    assert_true(status_of(f).next_mono_ns == INT64_MAX); /* A look for a token is no request. */
    tokens.status = 0;
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_false(status_of(f).tokenless || status_of(f).quiet);
    assert_string_equal(status_of(f).last_error, "");
}

static void test_a_refused_subject_rests_alone(void **state) {
    static const struct script script = {{STATUS("404 Not Found"), STATUS("400 Bad Request"), SAYS("1", "1")}, 3};
    struct fixture *f = *state;
    struct endpoint_status ep;
    open_demo(f, (struct behaviour){.class = SOURCE_TAIL}, &script);
    UNTIL(f, status_of(f).n_refusals == 1 && status_of(f).doing == POLL_IDLE);
    assert_int_equal(status_of(f).refused_http, 404);
    assert_in_range((status_of(f).next_mono_ns - f->clock.mono_ns) / NS_PER_S, 8, 10);
    governor__status(f->governor, 0, &ep); /* The others of the endpoint do not rest. */
    assert_true(ep.next_mono_ns <= f->clock.mono_ns + NS_PER_S);
    assert_int_not_equal(ep.state, ENDPOINT_BACKOFF);
    UNTIL(f, status_of(f).n_refusals == 2 && status_of(f).doing == POLL_IDLE);
    assert_int_equal(status_of(f).refused_http, 400);
    assert_in_range((status_of(f).next_mono_ns - f->clock.mono_ns) / NS_PER_S, 18, 20); /* Twice as long, */
    poller__poke(f->poller);                                                            /* or until somebody wants it. */
    for (int i = 0; i < 2000 && status_of(f).counts.fresh == 0; i++) turn(f);
    assert_int_equal(status_of(f).counts.fresh, 1);
    assert_int_equal(status_of(f).n_refusals, 0);
}

/* A row of refusals ends with any other answer, and with a cursor that somebody sets. */
static void test_refusals_in_a_row_are_in_a_row(void **state) {
    static const struct script script = {{STATUS("404 Not Found"), STATUS("500 Oh"), STATUS("404 Not Found")}, 3};
    struct fixture *f = *state;
    struct err e = {0};
    struct steered steered = {.done = false};
    open_demo(f, (struct behaviour){.class = SOURCE_TAIL}, &script);
    UNTIL(f, status_of(f).n_refusals == 1 && status_of(f).doing == POLL_IDLE);
    poller__poke(f->poller);
    UNTIL(f, status_of(f).counts.errors == 2);
    assert_int_equal(status_of(f).n_refusals, 0);
    UNTIL(f, status_of(f).counts.errors == 3 && status_of(f).doing == POLL_IDLE);
    assert_int_equal(status_of(f).n_refusals, 1);
    assert_int_equal(poller__steer(f->poller, POLLER_SET, "7", "why", on_steered, &steered, &e), 0);
    UNTIL(f, steered.done);
    assert_int_equal(status_of(f).n_refusals, 0);
}

/* The vendor's budget of refusals, which outlives a run, is spent by others: a stream that was answered in
 * another run goes on, one that was refused last waits. */
static void spend_refusals(struct fixture *f) {
    for (int i = 0; i < 30; i++) {
        struct permit p = {.proven = true};
        struct governor_reply reply = {.status = 404, .dispatched = true, .subject = true};
        while (governor__try(f->governor, f->endpoint, &p, "") != 0) f->clock.mono_ns += NS_PER_S;
        reply.done_mono_ns = f->clock.mono_ns;
        governor__report(f->governor, &p, &reply, NULL);
    }
}

static void test_a_kept_cursor_proves_a_stream(void **state) {
    static const struct script script = {{SAYS("2", "1")}, 1};
    struct fixture *f = *state;
    make_demo(f, (struct behaviour){.class = SOURCE_TAIL}, &script);
    spend_refusals(f);
    poller__restore(f->poller, SLICE_LIT("1"), SLICE_LIT(""));
    poller__start(f->poller);
    UNTIL(f, status_of(f).counts.fresh == 1);
}

static void test_one_without_an_answer_waits_for_the_budget(void **state) {
    static const struct script script = {{STATUS("404 Not Found"), SAYS("1", "1")}, 2};
    struct fixture *f = *state;
    make_demo(f, (struct behaviour){.class = SOURCE_TAIL}, &script);
    struct request_facts gone = {.http_status = 404};
    poller__restore(f->poller, SLICE_LIT("1"), SLICE_LIT(""));
    poller__replay(f->poller, &gone); /* The log's last word of it. */
    spend_refusals(f);
    poller__start(f->poller);
    for (int i = 0; i < 3000; i++) turn(f);
    assert_int_equal(f->n_requests, 0);
    governor__resume(f->governor, f->endpoint);
    UNTIL(f, status_of(f).n_refusals == 1 && status_of(f).doing == POLL_IDLE);
}

static void test_a_refused_token_is_told(void **state) {
    static const struct script script = {{STATUS("401 Unauthorized"), SAYS("1", "1")}, 2};
    struct fixture *f = *state;
    struct tokens tokens = {.token = "first"};
    f->data = &tokens;
    f->bearer = on_bearer;
    f->bearer_refused = on_bearer_refused;
    open_demo(f, (struct behaviour){.wants_token = true}, &script);
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_int_equal(tokens.n_refused, 1);
    assert_string_equal(tokens.refused, "first"); /* Which one: there may be another by now. */
    assert_non_null(strstr(f->last_request, "Authorization: Bearer second\r\n"));
}

static void test_a_token_that_head_finds_refused_is_not_tried_again(void **state) {
    static const struct script script = {{"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", SAYS("1", "1")}, 2};
    struct fixture *f = *state;
    struct tokens tokens = {.token = "first"};
    struct endpoint_options o = {.name = "headed", .host = "h2", .rate_per_s = 1000, .head_at_start = true};
    f->endpoint = governor__endpoint(f->governor, &o);
    f->data = &tokens;
    f->bearer = on_bearer;
    f->bearer_refused = on_bearer_refused;
    open_demo(f, (struct behaviour){.wants_token = true}, &script);
    UNTIL(f, f->n_requests == 1);
    assert_memory_equal(f->last_request, "HEAD /", 6);
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_int_equal(tokens.n_refused, 1);
    assert_non_null(strstr(f->last_request, "Authorization: Bearer second\r\n"));
}

static void test_a_token_is_as_old_as_its_departure(void **state) {
    static const struct script script = {{SAYS("1", "1"), SAYS("2", "2")}, 2};
    struct fixture *f = *state;
    struct tokens tokens = {.token = "first"};
    f->data = &tokens;
    f->bearer = on_bearer;
    governor__pause(f->governor, f->endpoint, 100 * NS_PER_MS, "others are first");
    open_demo(f, (struct behaviour){.wants_token = true}, &script);
    UNTIL(f, status_of(f).doing == POLL_WAIT);
    snprintf(tokens.token, sizeof tokens.token, "second"); /* Renewed meanwhile. */
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_non_null(strstr(f->last_request, "Authorization: Bearer second\r\n"));
}

static void test_a_token_that_is_lost_while_waiting_is_not_sent(void **state) {
    static const struct script script = {{SAYS("1", "1")}, 1};
    struct fixture *f = *state;
    struct tokens tokens = {.token = "first"};
    f->data = &tokens;
    f->bearer = on_bearer;
    governor__pause(f->governor, f->endpoint, 100 * NS_PER_MS, "others are first");
    open_demo(f, (struct behaviour){.wants_token = true}, &script);
    UNTIL(f, status_of(f).doing == POLL_WAIT);
    tokens.status = ERR_REFUSED; /* Another stream was told 401. */
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    assert_int_equal(f->n_requests, 0);
    assert_string_equal(status_of(f).last_error, "scope service:demo is not granted");
    tokens.status = 0;
    poller__poke(f->poller);
    UNTIL(f, status_of(f).counts.fresh == 1);
}

/* A user's login, as its owner sees it. */
struct login_owner {
    bool there;
    char id[LOGIN_ID_SIZE], token[32], kept[32], kept_id[LOGIN_ID_SIZE];
    int n_kept;
    struct fixture *f;
    size_t n_records; /* There were when it was told. */
};

static int on_refresh_token(void *ctx, char id[LOGIN_ID_SIZE], char *out, size_t size, struct err *e) {
    struct login_owner *o = ((struct fixture *)ctx)->data;
    snprintf(id, LOGIN_ID_SIZE, "%s", o->there ? o->id : "");
    if (!o->there) return err__setf(e, ERR_REFUSED, "nobody is logged in");
    if (out != NULL) snprintf(out, size, "%s", o->token);
    return 0;
}

static void on_keep_secret(void *ctx, const char *id, struct slice secret) {
    struct login_owner *o = ((struct fixture *)ctx)->data;
    struct kept kept;
    read_spool(o->f, &kept);
    o->n_records = kept.n_pages + kept.n_requests;
    o->n_kept++;
    snprintf(o->kept_id, sizeof o->kept_id, "%s", id);
    snprintf(o->kept, sizeof o->kept, "%.*s", SLICE_FMT(secret));
}

static void open_login(struct fixture *f, struct login_owner *o, const struct script *script) {
    o->f = f;
    f->data = o;
    f->refresh_token = on_refresh_token;
    f->keep_secret = on_keep_secret;
    snprintf(o->id, sizeof o->id, "0000000000000001");
    open_demo(f, (struct behaviour){.posts = true, .login = true, .errors = true}, script);
}

static void test_a_login_shows_its_newest_token_and_keeps_the_next_first(void **state) {
    static const struct script script = {{SAYS("1 next", "6"), STATUS("500 Oh")}, 2};
    struct fixture *f = *state;
    struct login_owner o = {.token = "old"};
    open_login(f, &o, &script);
    UNTIL(f, status_of(f).quiet); /* Nobody is logged in: a normal state. */
    assert_string_equal(status_of(f).last_error, "nobody is logged in");
    assert_int_equal(f->n_requests, 0);
    o.there = true;
    governor__pause(f->governor, f->endpoint, 100 * NS_PER_MS, "others are first");
    poller__poke(f->poller);
    UNTIL(f, status_of(f).doing == POLL_WAIT);
    snprintf(o.token, sizeof o.token, "a+/=b"); /* Another login meanwhile. */
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_non_null(strstr(f->last_request, "\r\n\r\na=1&b=2&refresh_token=a%2B%2F%3Db"));
    assert_null(strstr(f->last_request, "Authorization"));
    assert_string_equal(o.kept, "1 next");
    assert_int_equal(o.n_records, 0); /* Before anything of the answer was. */
    UNTIL(f, o.n_kept == 2);          /* Also from an answer that is otherwise no good. */
    UNTIL(f, status_of(f).counts.errors == 1);
}

/* The token that was shown is spent: the answer has the next, so that a process that ends waits for it. */
static void test_an_end_waits_for_the_answer_to_a_login(void **state) {
    static const struct script script = {{SAYS("1 next", "6")}, 1};
    struct fixture *f = *state;
    struct login_owner o = {.there = true, .token = "old"};
    open_login(f, &o, &script);
    UNTIL(f, f->n_requests == 1);
    assert_int_equal(status_of(f).doing, POLL_FETCH);
    assert_int_equal(o.n_kept, 0);
    close_poller(f);
    assert_int_equal(o.n_kept, 1);
    assert_string_equal(o.kept, "1 next");
}

/* Somebody logs in again while a request shows the old token: its answer is the old one's. */
static void test_an_answer_is_of_the_login_that_was_shown(void **state) {
    static const struct script script = {{SAYS("1 next", "6"), SAYS("2 next", "6")}, 2};
    struct fixture *f = *state;
    struct login_owner o = {.there = true, .token = "old"};
    governor__pause(f->governor, f->endpoint, 100 * NS_PER_MS, "others are first");
    open_login(f, &o, &script);
    UNTIL(f, status_of(f).doing == POLL_WAIT);
    assert_string_equal(status_of(f).state->login, "0000000000000001"); /* Which there is, for plan; */
    snprintf(o.id, sizeof o.id, "0000000000000002");
    UNTIL(f, f->n_requests == 1);
    assert_string_equal(status_of(f).state->login, "0000000000000002"); /* which was shown, for judge. */
    snprintf(o.id, sizeof o.id, "0000000000000003");
    UNTIL(f, o.n_kept == 1);
    assert_string_equal(o.kept, "1 next");
    assert_string_equal(o.kept_id, "0000000000000002");
    UNTIL(f, o.n_kept == 2);
    assert_string_equal(o.kept_id, "0000000000000003");
}

/* Nor may an endpoint that says nothing hold up the end for as long as a request may take. */
static void test_an_end_waits_for_that_answer_so_long(void **state) {
    static const struct script script = {{NULL}, 1};
    struct fixture *f = *state;
    struct login_owner o = {.there = true, .token = "old"};
    open_login(f, &o, &script);
    UNTIL(f, f->n_requests == 1);
    uint64_t began_ms = uv_now(&f->loop);
    close_poller(f);
    assert_int_equal(o.n_kept, 0);
    assert_true(uv_now(&f->loop) - began_ms >= POLLER_LOGIN_PATIENCE_NS / NS_PER_MS);
    struct buf text = buf__init((size_t)1 << 20); /* It was given up, not timed out. */
    metrics__expose(&f->metrics, &text);
    assert_true(buf__u8(&text, 0));
    assert_non_null(strstr(text.base, "code=\"canceled\"} 1\n"));
    buf__fini(&text);
}

static void test_a_login_that_ends_while_waiting_is_not_shown(void **state) {
    static const struct script script = {{SAYS("1 next", "6")}, 1};
    struct fixture *f = *state;
    struct login_owner o = {.there = true, .token = "old"};
    governor__pause(f->governor, f->endpoint, 100 * NS_PER_MS, "others are first");
    open_login(f, &o, &script);
    UNTIL(f, status_of(f).doing == POLL_WAIT);
    o.there = false;
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    assert_string_equal(status_of(f).last_error, "nobody is logged in");
    for (int i = 0; i < 200; i++) turn(f);
    assert_int_equal(f->n_requests, 0);
}

static void test_classes_reach_the_governor(void **state) {
    static const struct script script = {{SAYS("1", "1")}, 1};
    struct fixture *f = *state;
    struct endpoint_status ep;
    open_demo(f, (struct behaviour){.class = SOURCE_BACKFILL, .idle_after_first = true}, &script);
    UNTIL(f, status_of(f).counts.fresh == 1);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    poller__poke(f->poller); /* Whoever waits for it comes first. */
    UNTIL(f, status_of(f).counts.fresh == 2);
    governor__status(f->governor, 0, &ep);
    assert_int_equal(ep.n_granted_by_class[CLASS_BACKFILL], 1);
    assert_int_equal(ep.n_granted_by_class[CLASS_INTERACTIVE], 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CASE(test_a_post_has_its_body_and_its_method_in_the_log),
        CASE(test_an_end_is_an_end),
        CASE(test_a_poke_asks_at_once),
        CASE(test_what_is_not_given_is_a_state),
        CASE(test_other_statuses_reach_judge_only_if_it_wants_them),
        CASE(test_a_failure_that_judge_saw_is_one),
        CASE(test_an_expected_status_spends_no_budget),
        CASE(test_secrets_stay_in_memory),
        CASE(test_without_memory_a_secret_is_not_kept_either),
        CASE(test_a_cursor_set_by_hand_starts_without_a_memo),
        CASE(test_a_token_is_waited_for_and_sent),
        CASE(test_without_a_grant_the_stream_is_quiet),
        CASE(test_while_no_token_is_taken_the_stream_says_so_and_goes_on),
        CASE(test_a_refused_subject_rests_alone),
        CASE(test_a_page_that_is_too_large_rests_and_can_be_passed),
        CASE(test_refusals_in_a_row_are_in_a_row),
        CASE(test_a_kept_cursor_proves_a_stream),
        CASE(test_one_without_an_answer_waits_for_the_budget),
        CASE(test_a_refused_token_is_told),
        CASE(test_a_token_that_head_finds_refused_is_not_tried_again),
        CASE(test_a_token_is_as_old_as_its_departure),
        CASE(test_a_token_that_is_lost_while_waiting_is_not_sent),
        CASE(test_a_login_shows_its_newest_token_and_keeps_the_next_first),
        CASE(test_an_end_waits_for_the_answer_to_a_login),
        CASE(test_an_answer_is_of_the_login_that_was_shown),
        CASE(test_an_end_waits_for_that_answer_so_long),
        CASE(test_a_login_that_ends_while_waiting_is_not_shown),
        CASE(test_classes_reach_the_governor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
