/* One stream from plan to synced page. */
#include "test_poller_fixture.h"

static void open_poller(struct fixture *f, const char *source, const struct script *script) {
    open_source(f, source__find(source), script);
}

#define PAGE(next) "HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n{\"next_change_id\":\"" next "\",\"stashes\":[{}]}"
#define END(next) "HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{\"next_change_id\":\"" next "\",\"stashes\":[]}"
#define BAD "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{\"a\":1"
#define NINJA_OK "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 13\r\n\r\n{\"lines\":[1]}"

static void test_the_cursor_moves_once_a_page_is_synced(void **state) {
    static const struct script script = {{PAGE("1-1"), PAGE("1-2"), END("1-2")}, 3};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    for (int i = 0; status_of(f).counts.empty == 0; i++) { /* Never ahead of what is on disk. */
        assert_true(i < TURNS_MAX);
        turn(f);
        read_spool(f, &kept);
        const char *cursor = status_of(f).state->cursor;
        assert_true(kept.n_pages >= (size_t)(cursor[0] == '\0' ? 0 : cursor[2] - '0'));
    }
    assert_string_equal(status_of(f).state->cursor, "1-2");
    assert_true(status_of(f).state->caught_up);
    assert_int_equal(status_of(f).counts.fresh, 2);
    assert_int_equal(kept.n_pages, 2);
    assert_int_equal(f->limits_behind, 0); /* Each permit was synced before its request left. */
    assert_non_null(strstr(f->last_request, "?id=1-2 "));
    /* The end of the stream is asked for again, and moves nothing. */
    UNTIL(f, status_of(f).counts.empty == 3);
    assert_string_equal(status_of(f).state->cursor, "1-2");
}

static void test_a_bad_answer_leaves_the_cursor(void **state) {
    static const struct script script = {{PAGE("1-1"), BAD, PAGE("1-2"), END("1-2")}, 4};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).last_error[0] != '\0');
    assert_int_equal(status_of(f).counts.invalid, 1);
    assert_string_equal(status_of(f).state->cursor, "1-1");
    read_spool(f, &kept);
    assert_string_equal(kept.status, "invalid");
    assert_string_equal(kept.cursor_to, "1-1");
    UNTIL(f, status_of(f).counts.empty > 0); /* Asked again with the same cursor. */
    assert_string_equal(status_of(f).state->cursor, "1-2");
    assert_string_equal(status_of(f).last_error, "");
}

static void test_a_rewind_is_refused(void **state) {
    static const struct script script = {{PAGE("1-5"), PAGE("1-3"), PAGE("1-6"), END("1-6")}, 4};
    struct fixture *f = *state;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).frozen);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    assert_int_equal(status_of(f).counts.rewind, 1);
    assert_string_equal(status_of(f).state->cursor, "1-5");
    UNTIL(f, status_of(f).counts.empty > 0);
    assert_false(status_of(f).frozen);
    assert_string_equal(status_of(f).state->cursor, "1-6");
}

static void test_not_modified_repeats_the_last_body(void **state) {
    static const struct script script = {{NINJA_OK, "HTTP/1.1 304 Not Modified\r\n\r\n"}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "poe_ninja", &script);
    poller__start(f->poller);
    UNTIL(f, f->n_requests >= 3);
    assert_non_null(strstr(f->last_request, "If-None-Match: \"v1\""));
    read_spool(f, &kept);
    assert_true(kept.n_unchanged >= 1);
    assert_int_equal(status_of(f).counts.fresh, 1);
    assert_string_equal(status_of(f).state->etag, "\"v1\"");
}

static void test_after_a_restart_nothing_is_there_to_repeat(void **state) {
    static const struct script script = {{"HTTP/1.1 304 Not Modified\r\n\r\n", NINJA_OK}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "poe_ninja", &script);
    poller__restore(f->poller, SLICE_LIT("\"v1\""), SLICE_LIT("\"v1\""));
    poller__start(f->poller);
    UNTIL(f, status_of(f).counts.fresh == 1); /* Asked for without a condition, so the body came. */
    assert_null(strstr(f->last_request, "If-None-Match"));
    UNTIL(f, (read_spool(f, &kept), kept.n_pages > 0)); /* On a slow disk it asks on in the same turn. */
    assert_int_equal(kept.n_pages, 1);
    assert_int_equal(kept.n_unchanged, 0);
}

static void test_an_outage_shows_the_last_values_as_stale(void **state) {
    static const struct script script = {{NINJA_OK, "HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n"}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "poe_ninja", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).counts.stale == 1);
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    read_spool(f, &kept);
    assert_int_equal(kept.n_stale, 1);
    assert_string_equal(kept.status, "error");
    assert_int_equal(kept.last.http_status, 503);
}

static void test_our_own_end_makes_no_stale_rows(void **state) {
    static const struct script script = {{NINJA_OK, NULL}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "poe_ninja", &script);
    poller__start(f->poller);
    UNTIL(f, f->n_requests == 2);
    for (int i = 0; i < 30; i++) turn(f); /* Longer than the period. */
    close_poller(f);
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 1);
    assert_int_equal(kept.n_stale, 0);
    assert_string_equal(kept.status, "error");
}

static void test_a_full_spool_keeps_the_page_waiting(void **state) {
    static const struct script script = {{PAGE("1-1"), END("1-1")}, 2};
    struct fixture *f = *state;
    static char filler[32 << 10];
    struct slice part = slice__of(filler, sizeof filler);
    struct err e = {0};
    struct kept kept;
    struct spool_status status;
    while (spool__append(f->spool, SPOOL_PAGE, 0, &part, 1, NULL, NULL, &e) != 0) turn(f);
    assert_int_equal(e.code, ERR_FULL);
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).spool_full);
    assert_int_equal(status_of(f).doing, POLL_KEEP);
    assert_string_equal(status_of(f).state->cursor, "");
    assert_int_equal(f->n_requests, 1);
    /* Room again, as everything below is stored. */
    UNTIL(f, (spool__status(f->spool, &status), status.synced_lsn == status.end_lsn));
    assert_true(spool__checkpoint(f->spool, status.synced_lsn, SLICE_LIT("x"), &e) != 0);
    UNTIL(f, status_of(f).counts.empty > 0);
    assert_string_equal(status_of(f).state->cursor, "1-1");
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 1);
    assert_int_equal(f->n_requests, 2); /* The page was not asked for twice. */
}

static void test_it_can_be_closed_while_a_page_waits_for_the_spool(void **state) {
    static const struct script script = {{PAGE("1-1")}, 1};
    struct fixture *f = *state;
    static char filler[32 << 10];
    struct slice part = slice__of(filler, sizeof filler);
    struct err e = {0};
    while (spool__append(f->spool, SPOOL_PAGE, 0, &part, 1, NULL, NULL, &e) != 0) turn(f);
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).spool_full);
    close_poller(f);
}

static void test_it_can_be_closed_in_every_state(void **state) {
    static const struct script script = {{PAGE("1-1"), PAGE("1-2"), PAGE("1-3"), END("1-3")}, 4};
    static const enum poll_state states[] = {POLL_IDLE, POLL_WAIT, POLL_SAVE, POLL_FETCH, POLL_JUDGE, POLL_KEEP};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        f->n_requests = 0;
        open_poller(f, "psapi", &script);
        poller__start(f->poller);
        for (int k = 0; status_of(f).doing != states[i]; k++) {
            if (k == TURNS_MAX) fail_msg("never in state %d", (int)states[i]);
            turn(f);
        }
        close_poller(f);
    }
    assert_int_equal(http__inflight(f->http), 0);
    struct endpoint_status ep;
    governor__status(f->governor, 0, &ep); /* No permit is left behind. */
    assert_int_equal(ep.n_waiting + ep.n_inflight, 0);
}

static void test_a_page_that_was_received_is_kept_at_the_end(void **state) {
    static const struct script script = {{PAGE("1-1"), END("1-1")}, 2};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).doing == POLL_JUDGE);
    close_poller(f);
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 1);
    assert_string_equal(kept.cursor_to, "1-1");
}

static void test_a_disabled_endpoint_is_asked_again_later(void **state) {
    static const struct script script = {{"HTTP/1.1 403 No\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"}, 1};
    struct fixture *f = *state;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, status_of(f).refused); /* A block page: the governor disables the host. */
    assert_int_equal(status_of(f).doing, POLL_IDLE);
    /* When it opens, not when it is looked at again. */
    assert_true(status_of(f).next_mono_ns > f->clock.mono_ns + 3000 * NS_PER_S);
    for (int i = 0; i < 6000; i++) turn(f);
    assert_int_equal(f->n_requests, 1);
    assert_true(status_of(f).next_mono_ns > f->clock.mono_ns + 3000 * NS_PER_S);
    governor__resume(f->governor, f->endpoint); /* Somebody opens it: it is seen soon. */
    UNTIL(f, f->n_requests == 2);
}

static void test_the_first_cursor_comes_from_the_seed(void **state) {
    static const struct script script = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"psapi\":\"7-1\"}", PAGE("7-2"), END("7-2")}, 3};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "psapi", &script);
    f->settings.start = "head";
    assert_string_equal(status_of(f).endpoint, "psapi");
    poller__start(f->poller);
    UNTIL(f, f->n_requests == 1);
    assert_string_equal(status_of(f).endpoint, "trade_data"); /* Whose limits it waits for. */
    UNTIL(f, status_of(f).state->cursor[0] != '\0');
    assert_string_equal(status_of(f).state->cursor, "7-1");
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 0);
    assert_string_equal(kept.status, "seeded");
    assert_string_equal(kept.path, "/api/trade/data/change-ids");
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_non_null(strstr(f->last_request, "/public-stash-tabs?id=7-1 "));
    assert_string_equal(status_of(f).endpoint, "psapi");
}

static void test_a_log_is_replayed_to_the_same_cursor(void **state) {
    static const struct script script = {{PAGE("1-1")}, 1};
    struct fixture *f = *state;
    struct request_facts facts = {.flags = REQUEST_SEED, .cursor_to = SLICE_LIT("7-1")};
    open_poller(f, "psapi", &script);
    poller__restore(f->poller, SLICE_LIT("6-1"), SLICE_LIT("e"));
    poller__replay(f->poller, &facts);
    assert_string_equal(status_of(f).state->cursor, "7-1");
    facts = (struct request_facts){.cursor_to = SLICE_LIT("9-9"), .http_status = 200, .received_wall_ns = 5};
    poller__replay(f->poller, &facts); /* It moved nothing. */
    assert_string_equal(status_of(f).state->cursor, "7-1");
    assert_true(status_of(f).last_success_wall_ns == 5);
    poller__start(f->poller);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
struct steered {
    int n, status;
};
static void on_steered(void *data, int status) {
    struct steered *s = data;
    s->n++;
    s->status = status;
}

static void steer(struct fixture *f, enum poller_steer what, const char *cursor, const char *reason) {
    struct steered done = {0};
    struct err e = {0};
    if (poller__steer(f->poller, what, cursor, reason, on_steered, &done, &e) != 0) fail_msg("%s", e.msg);
    UNTIL(f, done.n == 1);
    assert_int_equal(done.status, 0);
}

/* What a restart makes of the log: all its requests, in order, told to a poller of its own. */
static void replay_into(struct fixture *f, struct poller *p) {
    struct spool_status status;
    struct spool_reader r;
    struct spool_record rec;
    struct request_facts facts;
    struct slice body;
    struct err e;
    spool__status(f->spool, &status);
    spool_reader__init(&r, f->spool, status.first_lsn);
    while (spool_reader__next(&r, status.synced_lsn, &rec, &e) == 1)
        if ((rec.type == SPOOL_PAGE || rec.type == SPOOL_REQUEST) && journal__decode(rec.payload, &facts, &body) == 0)
            poller__replay(p, &facts);
    spool_reader__fini(&r);
}

static void test_a_cursor_is_set_by_hand(void **state) {
    static const struct script script = {{PAGE("1-1"), END("1-1"), END("1-1"), END("1-1"), PAGE("7-9"), END("7-9")}, 6};
    struct fixture *f = *state;
    struct kept kept;
    struct err e;
    open_poller(f, "psapi", &script);
    f->settings.period_ns = 3600 * NS_PER_S; /* It waits at the end of the stream. */
    poller__start(f->poller);
    UNTIL(f, status_of(f).counts.empty == 1 && status_of(f).doing == POLL_IDLE);
    static const char *const bad[] = {"", "here", "1-", "-1", "1--2", "1-2 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(poller__steer(f->poller, POLLER_SET, bad[i], "why", on_steered, NULL, &e), ERR_CONFIG);
    f->n_requests = 4;
    steer(f, POLLER_SET, "7-8", "a test");
    read_spool(f, &kept);
    assert_string_equal(kept.status, "set");
    assert_string_equal(kept.cursor_to, "7-8");
    UNTIL(f, status_of(f).counts.empty == 2 && status_of(f).doing == POLL_IDLE); /* At once, not in an hour. */
    assert_string_equal(status_of(f).state->cursor, "7-9");
    assert_string_equal(status_of(f).last_cursor, "7-8");
    steer(f, POLLER_SET, "3-4", "back again"); /* A person may go back; what follows is no rewind. */
    UNTIL(f, status_of(f).doing == POLL_IDLE && status_of(f).counts.empty == 3);
    assert_int_equal(status_of(f).counts.rewind, 0);
}

static void test_frozen_by_hand_asks_nothing_and_survives_a_restart(void **state) {
    static const struct script script = {{END("1-1")}, 1};
    struct fixture *f = *state;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, f->n_requests == 2);
    steer(f, POLLER_FREEZE, "", "the venue asked us"); /* In the middle of a request, or of a wait. */
    assert_true(status_of(f).held);
    assert_string_equal(status_of(f).last_error, "frozen: the venue asked us");
    size_t n = f->n_requests;
    for (int i = 0; i < 500; i++) turn(f);
    poller__poke(f->poller);
    for (int i = 0; i < 500; i++) turn(f);
    assert_int_equal(f->n_requests, n);
    close_poller(f);
    open_poller(f, "psapi", &script);
    replay_into(f, f->poller);
    poller__start(f->poller);
    for (int i = 0; i < 500; i++) turn(f);
    assert_int_equal(f->n_requests, n);
    assert_string_equal(poller__hold(f->poller), "the venue asked us");
    steer(f, POLLER_SET, "5-6", "on from here"); /* It stays frozen. */
    assert_true(status_of(f).held);
    steer(f, POLLER_UNFREEZE, "", "");
    UNTIL(f, f->n_requests > n);
    assert_non_null(strstr(f->last_request, "?id=5-6 "));
    close_poller(f);
    open_poller(f, "psapi", &script);
    replay_into(f, f->poller);
    assert_string_equal(poller__hold(f->poller), "");
    poller__start(f->poller);
}

static void test_a_change_that_comes_too_late_is_answered(void **state) {
    static const struct script script = {{NULL}, 1};
    struct fixture *f = *state;
    struct steered first = {0};
    struct err e;
    open_poller(f, "psapi", &script);
    poller__start(f->poller);
    UNTIL(f, f->n_requests == 1); /* The server says nothing: the request hangs. */
    assert_int_equal(poller__steer(f->poller, POLLER_FREEZE, "", "why", on_steered, &first, &e), 0);
    assert_int_equal(poller__steer(f->poller, POLLER_UNFREEZE, "", "", on_steered, NULL, &e), ERR_REFUSED);
    assert_int_equal(first.n, 0);
    close_poller(f);
    assert_int_equal(first.n, 1);
    assert_int_equal(first.status, ERR_CANCELED);
}

static void test_a_backfill_ends_where_it_was_told_to(void **state) {
    static const struct script script = {{PAGE("1-2"), PAGE("1-3"), PAGE("1-4"), PAGE("1-5")}, 4};
    static const struct poller_bound bound = {.until = "1-4", .gap_ns = 300 * NS_PER_MS};
    struct fixture *f = *state;
    open_poller(f, "psapi", &script);
    poller__bound(f->poller, &bound);
    poller__restore(f->poller, SLICE_LIT("1-1"), SLICE_LIT(""));
    int64_t since_ns = f->clock.mono_ns;
    poller__start(f->poller);
    UNTIL(f, status_of(f).done);
    assert_string_equal(status_of(f).state->cursor, "1-4");
    assert_int_equal(f->n_requests, 3);
    assert_true(f->clock.mono_ns - since_ns >= 600 * NS_PER_MS); /* Three requests, two gaps. */
    for (int i = 0; i < 1000; i++) turn(f);
    assert_int_equal(f->n_requests, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_the_cursor_moves_once_a_page_is_synced),
        TEST(test_a_bad_answer_leaves_the_cursor),
        TEST(test_a_rewind_is_refused),
        TEST(test_not_modified_repeats_the_last_body),
        TEST(test_after_a_restart_nothing_is_there_to_repeat),
        TEST(test_an_outage_shows_the_last_values_as_stale),
        TEST(test_our_own_end_makes_no_stale_rows),
        TEST(test_a_full_spool_keeps_the_page_waiting),
        TEST(test_it_can_be_closed_while_a_page_waits_for_the_spool),
        TEST(test_it_can_be_closed_in_every_state),
        TEST(test_a_page_that_was_received_is_kept_at_the_end),
        TEST(test_a_disabled_endpoint_is_asked_again_later),
        TEST(test_the_first_cursor_comes_from_the_seed),
        TEST(test_a_log_is_replayed_to_the_same_cursor),
        TEST(test_a_cursor_is_set_by_hand),
        TEST(test_frozen_by_hand_asks_nothing_and_survives_a_restart),
        TEST(test_a_change_that_comes_too_late_is_answered),
        TEST(test_a_backfill_ends_where_it_was_told_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
