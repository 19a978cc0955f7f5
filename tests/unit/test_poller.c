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
    UNTIL(f, status_of(f).doing == POLL_IDLE);
    read_spool(f, &kept);
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
    assert_true(status_of(f).next_mono_ns > f->clock.mono_ns);
    assert_int_equal(f->n_requests, 1);
}

static void test_the_first_cursor_comes_from_the_seed(void **state) {
    static const struct script script = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"psapi\":\"7-1\"}", PAGE("7-2"), END("7-2")}, 3};
    struct fixture *f = *state;
    struct kept kept;
    open_poller(f, "psapi", &script);
    f->settings.start = "head";
    poller__start(f->poller);
    UNTIL(f, status_of(f).state->cursor[0] != '\0');
    assert_string_equal(status_of(f).state->cursor, "7-1");
    read_spool(f, &kept);
    assert_int_equal(kept.n_pages, 0);
    assert_string_equal(kept.status, "seeded");
    UNTIL(f, status_of(f).counts.fresh == 1);
    assert_non_null(strstr(f->last_request, "/public-stash-tabs?id=7-1 "));
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
