/* The upstreams beside river and poe.ninja: who gets a token and what it opens, what each route
 * says, when it says nothing yet, how it is limited, and that the ledger counts what went out. */
#include <yyjson.h>

#include "../lib/data_dir.h"
#include "account.h"
#include "exchange_markets.h"
#include "test_sim.h"

#include "trade_lists.h"
#include <sys/stat.h>

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    fixture__init(f, 0, NULL);
    f->options.state_dir = f->dir;
    fixture__open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture__fini(*state);
    free(*state);
    return 0;
}

static yyjson_doc *parse(const struct reply *r) {
    yyjson_doc *doc = r->body != NULL ? yyjson_read(r->body->data, r->body->len, 0) : NULL;
    if (doc == NULL) fail_msg("status %d: no JSON", r->status);
    return doc;
}

static const char *str(yyjson_val *v, const char *key) {
    const char *s = yyjson_get_str(yyjson_obj_get(v, key));
    if (s == NULL) fail_msg("no %s", key);
    return s;
}

/** Let @s seconds pass. */
static void pass_time(struct fixture *f, int64_t s) {
    f->sim->clock.mono_ns += s * SIM_NS_PER_S;
    f->sim->clock.wall_ns += s * SIM_NS_PER_S;
}

static const struct reply *ask_token(struct fixture *f, const char *form) {
    return fixture__send(f, "POST", "/oauth/token", "", form, true);
}

#define GRANT "client_id=souk&client_secret=sim-secret&grant_type=client_credentials&scope="

/** Ask @target with a token for @scope. */
static int get_with(struct fixture *f, const char *scope, const char *target) {
    char form[200], token[120], headers[300];
    snprintf(form, sizeof form, GRANT "%s", scope);
    assert_int_equal(ask_token(f, form)->status, 200);
    assert_int_equal(sscanf(f->reply.body->data, "{\"access_token\":\"%119[^\"]\"", token), 1);
    snprintf(headers, sizeof headers, "%sAuthorization: Bearer %s\r\n", TEST_AGENT, token);
    return fixture__send(f, "GET", target, headers, "", true)->status;
}

static void test_a_token_says_what_was_granted(void **state) {
    struct fixture *f = *state;
    yyjson_doc *doc;
    ask_token(f, GRANT "service:psapi%20account:stashes");
    assert_int_equal(f->reply.status, 200);
    doc = parse(&f->reply);
    assert_string_equal(str(yyjson_doc_get_root(doc), "scope"), "account:stashes service:psapi");
    assert_int_equal(yyjson_get_int(yyjson_obj_get(yyjson_doc_get_root(doc), "expires_in")),
                     28 * 86400);
    yyjson_doc_free(doc);
    assert_true(has_header(&f->reply, "X-Rate-Limit-Policy: token-request-limit\r\n"));
    assert_int_equal(ask_token(f, GRANT "account:profile")->status, 400);
    assert_non_null(strstr(f->reply.body->data, "\"error\":\"invalid_scope\""));
    assert_int_equal(ask_token(f, GRANT "service:nothing")->status, 400);
    f->options.scopes = "none";
    assert_int_equal(ask_token(f, GRANT "service:psapi")->status, 400);
    assert_non_null(strstr(f->reply.body->data, "invalid_scope"));
}

static void test_wrong_credentials(void **state) {
    struct fixture *f = *state;
    assert_int_equal(ask_token(f, "client_id=a&client_secret=b&grant_type=client_credentials&"
                                  "scope=service:psapi")
                         ->status,
                     400);
    assert_non_null(strstr(f->reply.body->data, "invalid_client"));
    f->options.client = "souk:other";
    assert_int_equal(ask_token(f, GRANT "service:psapi")->status, 400);
    assert_int_equal(ask_token(f, "client_id=who&client_secret=other&grant_type=client_credentials&"
                                  "scope=service:psapi")
                         ->status,
                     401);
    assert_int_equal(ask_token(f, "client_id=souk&client_secret=other&grant_type=client_credentials"
                                  "&scope=service:psapi")
                         ->status,
                     200);
    assert_int_equal(
        ask_token(f, "client_id=souk&client_secret=other&grant_type=password&scope=service:psapi")
            ->status,
        400);
    assert_non_null(strstr(f->reply.body->data, "unsupported_grant_type"));
}

static void test_a_token_opens_its_scopes_for_its_time(void **state) {
    struct fixture *f = *state;
    char token[120], headers[300];
    f->options.require_token = true;
    assert_int_equal(fixture__get(f, "/stash/Standard")->status, 401);
    assert_int_equal(get_with(f, "account:stashes", "/stash/Standard"), 200);
    assert_int_equal(get_with(f, "service:psapi", "/stash/Standard"), 403);
    assert_non_null(strstr(f->reply.body->data, "\"code\":6"));
    assert_int_equal(get_with(f, "service:cxapi", "/currency-exchange"), 200);
    assert_int_equal(get_with(f, "service:leagues", "/league"), 200);
    assert_int_equal(get_with(f, "service:leagues", "/public-stash-tabs"), 403);
    assert_int_equal(fixture__get(f, "/api/currency-exchange")->status, 200); /* Nobody asks. */
    f->options.token_life_s = 60;
    ask_token(f, GRANT "service:leagues");
    assert_int_equal(sscanf(f->reply.body->data, "{\"access_token\":\"%119[^\"]\"", token), 1);
    snprintf(headers, sizeof headers, "%sAuthorization: Bearer %s\r\n", TEST_AGENT, token);
    pass_time(f, 59);
    assert_int_equal(fixture__send(f, "GET", "/league", headers, "", true)->status, 200);
    pass_time(f, 1);
    assert_int_equal(fixture__send(f, "GET", "/league", headers, "", true)->status, 401);
    token[8] ^= 1; /* A token that nobody gave. */
    f->options.token_life_s = 86400;
    snprintf(headers, sizeof headers, "%sAuthorization: Bearer %s\r\n", TEST_AGENT, token);
    assert_int_equal(fixture__send(f, "GET", "/league", headers, "", true)->status, 401);
}

static void test_a_restarted_simulator_knows_its_tokens(void **state) {
    struct fixture *f = *state;
    char token[120], headers[300];
    f->options.require_token = true;
    ask_token(f, GRANT "service:leagues");
    assert_int_equal(sscanf(f->reply.body->data, "{\"access_token\":\"%119[^\"]\"", token), 1);
    snprintf(headers, sizeof headers, "%sAuthorization: Bearer %s\r\n", TEST_AGENT, token);
    fixture__close(f);
    fixture__open(f);
    assert_int_equal(fixture__send(f, "GET", "/league", headers, "", true)->status, 200);
}

static void test_a_head_shows_the_state_once_a_minute(void **state) {
    struct fixture *f = *state;
    static const char *const paths[] = {"/currency-exchange", "/stash/Standard", "/league",
                                        "/api/trade/data/static", "/public-stash-tabs"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(fixture__send(f, "HEAD", paths[i], TEST_AGENT, "", true)->status, 204);
        assert_true(has_header(&f->reply, "-State: 0:")); /* It counts in no window. */
    }
    assert_int_equal(f->sim->ledger.n_violations, 0);
    pass_time(f, 59);
    assert_int_equal(fixture__send(f, "HEAD", "/league", TEST_AGENT, "", true)->status, 429);
    pass_time(f, 60);
    assert_int_equal(fixture__send(f, "HEAD", "/league", TEST_AGENT, "", true)->status, 204);
    assert_int_equal(f->sim->ledger.n_violations, 1);
    assert_int_equal(f->sim->n_violations[ROUTE_LEAGUE], 1);
    fixture__send(f, "HEAD", "/api/currency-exchange", "", "", true);
    assert_int_equal(f->reply.status, 200); /* Without limits to show, as of any page. */
    assert_int_equal(f->sim->ledger.n_bodies, 0);
}

/** Check one digest. @return its number of markets; @zeros gains those without trades. */
static size_t check_digest(const struct reply *r, int64_t hour, size_t *zeros) {
    yyjson_doc *doc = parse(r);
    yyjson_val *root = yyjson_doc_get_root(doc), *m, *pair;
    size_t i, n, n_private = 0;
    assert_int_equal(yyjson_get_sint(yyjson_obj_get(root, "next_change_id")), hour + 3600);
    yyjson_arr_foreach(yyjson_obj_get(root, "markets"), i, n, m) {
        const char *a, *b;
        double va, vb, low, high;
        pair = yyjson_obj_get(m, "market_pair");
        a = yyjson_get_str(yyjson_arr_get(pair, 0));
        b = yyjson_get_str(yyjson_arr_get(pair, 1));
#define OF(name, side) yyjson_get_num(yyjson_obj_get(yyjson_obj_get(m, name), side))
        va = OF("volume_traded", a);
        vb = OF("volume_traded", b);
        n_private += strcmp(str(m, "league"), "Foo (PL12345)") == 0;
        if (vb == 0) {
            (*zeros)++;
            assert_true(va == 0 && OF("lowest_ratio", b) == 0 && OF("highest_stock", b) > 0);
            continue;
        }
        low = OF("lowest_ratio", a) / OF("lowest_ratio", b);
        high = OF("highest_ratio", a) / OF("highest_ratio", b);
#undef OF
        if (low > high) { /* The vendor's lowest can be the dearest. */
            double swap = low;
            low = high;
            high = swap;
        }
        if (va / vb < low || va / vb > high)
            fail_msg("%s: %g outside of %g to %g", str(m, "market_id"), va / vb, low, high);
    }
    assert_true(n_private > 10);
    yyjson_doc_free(doc);
    return n;
}

static void test_the_exchange_has_a_history_and_an_end(void **state) {
    struct fixture *f = *state;
    int64_t now_s = f->sim->clock.wall_ns / SIM_NS_PER_S, hour = now_s - now_s % 3600 - 48 * 3600;
    size_t zeros = 0, n = 0;
    char target[80];
    fixture__get(f, "/api/currency-exchange"); /* Without an hour: the first. */
    for (int i = 0; i < 48; i++) {
        n += check_digest(&f->reply, hour + i * 3600, &zeros);
        pass_time(f, 1);
        snprintf(target, sizeof target, "/api/currency-exchange/%lld",
                 (long long)(hour + (i + 1) * 3600));
        fixture__get(f, target);
    }
    assert_true(n > 48 * 100 && zeros > n / 50 && zeros < n / 5);
    assert_int_equal(f->reply.status, 404); /* The hour in progress. */
    snprintf(target, sizeof target, "{\"next_change_id\":%lld,\"markets\":[]}",
             (long long)(hour + 48 * 3600));
    assert_memory_equal(f->reply.body->data, target, strlen(target));
    assert_int_equal(f->sim->ledger.n_bodies, 48);
    assert_int_equal(f->sim->ledger.n_body_rows, n);
    assert_int_equal(f->sim->ledger.n_violations, 0);
    assert_int_equal(fixture__get(f, "/api/currency-exchange/3600")->status, 404); /* Too old. */
    pass_time(f, 1);
    assert_int_equal(fixture__get(f, "/api/currency-exchange/3601")->status, 400);
    pass_time(f, 1);
    assert_int_equal(fixture__get(f, "/api/currency-exchange/x")->status, 400);
}

static void test_an_hour_is_published_late_and_never_changes(void **state) {
    struct fixture *f = *state;
    int64_t now_s = f->sim->clock.wall_ns / SIM_NS_PER_S, hour = now_s - now_s % 3600;
    char target[80];
    struct body *first;
    snprintf(target, sizeof target, "/currency-exchange/xbox/%lld", (long long)hour);
    pass_time(f, hour + 3600 + 179 - now_s);
    assert_int_equal(fixture__get(f, target)->status, 200);
    assert_non_null(strstr(f->reply.body->data, "\"markets\":[]")); /* This form's way to say it. */
    assert_true(has_header(&f->reply, "X-Rate-Limit-Policy: currency-exchange-request-limit\r\n"));
    pass_time(f, 1);
    assert_int_equal(fixture__get(f, target)->status, 200);
    first = body__ref(f->reply.body);
    assert_true(first->len > 10000);
    pass_time(f, 5000);
    fixture__get(f, target);
    assert_int_equal(f->reply.body->len, first->len);
    assert_memory_equal(f->reply.body->data, first->data, first->len);
    assert_int_equal(f->sim->ledger.n_bodies, 1); /* Said once. */
    body__unref(first);
}

static void test_the_cdn_takes_two_requests_a_second(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fixture__get(f, "/api/currency-exchange")->status, 200);
        assert_false(has_header(&f->reply, "X-Rate-Limit"));
        f->sim->clock.mono_ns += 500 * SIM_NS_PER_MS;
    }
    assert_int_equal(f->sim->ledger.n_violations, 0);
    fixture__get(f, "/api/currency-exchange");
    f->sim->clock.mono_ns += 300 * SIM_NS_PER_MS;
    assert_int_equal(fixture__get(f, "/api/currency-exchange")->status, 429);
    assert_int_equal(f->sim->n_violations[ROUTE_CX_CDN], 1);
}

static void test_a_tree_of_tabs_can_be_read_whole(void **state) {
    struct fixture *f = *state;
    yyjson_doc *list;
    yyjson_val *tab, *child;
    size_t i, n, k, m, n_children = 0, n_folders = 0;
    char target[120];
    f->options.limits = false;
    assert_int_equal(fixture__get(f, "/stash/Hardcore%20Allflame")->status, 200);
    list = parse(&f->reply);
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(list), "stashes"), i, n, tab) {
        yyjson_doc *doc;
        snprintf(target, sizeof target, "/stash/Hardcore%%20Allflame/%s", str(tab, "id"));
        assert_int_equal(strlen(str(tab, "id")), 10);
        assert_int_equal(fixture__get(f, target)->status, 200);
        doc = parse(&f->reply);
        assert_string_equal(str(yyjson_obj_get(yyjson_doc_get_root(doc), "stash"), "id"),
                            str(tab, "id"));
        yyjson_doc_free(doc);
        n_folders += strcmp(str(tab, "type"), "Folder") == 0;
        yyjson_arr_foreach(yyjson_obj_get(tab, "children"), k, m, child) {
            n_children++;
            snprintf(target, sizeof target, "/stash/Hardcore%%20Allflame/%s/%s", str(tab, "id"),
                     str(child, "id"));
            assert_int_equal(fixture__get(f, target)->status, 200);
            doc = parse(&f->reply);
            assert_non_null(
                yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(doc), "stash"), "items"));
            yyjson_doc_free(doc);
        }
    }
    yyjson_doc_free(list);
    assert_int_equal(n, 12);
    assert_int_equal(n_children, 8);
    assert_int_equal(n_folders, 1);
    assert_int_equal(f->sim->ledger.n_bodies, 20);
    assert_true(f->sim->ledger.n_body_rows > 150);
    assert_int_equal(fixture__get(f, "/stash/Nowhere")->status, 404);
    assert_int_equal(fixture__get(f, "/stash/Standard/0123456789")->status, 404);
    assert_int_equal(fixture__get(f, "/stash/xbox/Standard")->status, 200);
    assert_int_equal(fixture__get(f, "/stash")->status, 404);
}

static void test_tabs_change_slowly(void **state) {
    struct account_view v = {.seed = 3, .league = "Standard", .at_ns = 1790000000 * SIM_NS_PER_S};
    yyjson_doc *list;
    size_t n_changed = 0;
    (void)state;
    {
        struct body *b = account__list(&v);
        list = yyjson_read(b->data, b->len, 0);
        body__unref(b);
    }
    for (size_t i = 0; i < 12; i++) {
        const char *id =
            str(yyjson_arr_get(yyjson_obj_get(yyjson_doc_get_root(list), "stashes"), i), "id");
        struct body *first = account__tab(&v, id, NULL), *same, *later;
        v.at_ns +=
            ACCOUNT_PERIOD_S * SIM_NS_PER_S - v.at_ns % (ACCOUNT_PERIOD_S * SIM_NS_PER_S) - 1;
        body__unref(first);
        first = account__tab(&v, id, NULL);
        same = account__tab(&v, id, NULL);
        v.at_ns++;
        later = account__tab(&v, id, NULL);
        assert_int_equal(first->len, same->len);
        assert_memory_equal(first->data, same->data, same->len);
        n_changed += first->len != later->len || memcmp(first->data, later->data, first->len) != 0;
        body__unref(first);
        body__unref(same);
        body__unref(later);
    }
    assert_in_range(n_changed, 5, 11); /* Folders and tabs of tabs stay as they are. */
    yyjson_doc_free(list);
}

static void test_leagues_in_both_forms(void **state) {
    struct fixture *f = *state;
    yyjson_doc *doc;
    yyjson_val *one;
    size_t n_bare;
    assert_int_equal(fixture__get(f, "/api/leagues?type=main&realm=sony")->status, 200);
    doc = parse(&f->reply);
    assert_true(yyjson_is_arr(yyjson_doc_get_root(doc)));
    n_bare = yyjson_arr_size(yyjson_doc_get_root(doc));
    one = yyjson_arr_get(yyjson_doc_get_root(doc), 0);
    assert_string_equal(str(one, "realm"), "sony");
    assert_string_equal(str(one, "id"), "Allflame");
    assert_non_null(yyjson_obj_get(one, "endAt"));
    yyjson_doc_free(doc);
    assert_int_equal(fixture__get(f, "/league?realm=sony")->status, 200);
    doc = parse(&f->reply);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "leagues")), n_bare);
    yyjson_doc_free(doc);
    assert_int_equal(fixture__get(f, "/league?realm=moon")->status, 400);
    assert_int_equal(fixture__get(f, "/leagues?type=event")->status, 400);
}

static void test_lists_of_the_trade_site_change_now_and_then(void **state) {
    struct fixture *f = *state;
    static const char *const names[] = {"static", "items", "stats", "leagues", "filters"};
    char target[60], tag[40], line[80];
    f->options.limits = false;
    f->options.trade_etag = true;
    for (size_t i = 0; i < 5; i++) {
        yyjson_doc *doc;
        snprintf(target, sizeof target, "/api/trade/data/%s", names[i]);
        assert_int_equal(fixture__get(f, target)->status, 200);
        doc = parse(&f->reply);
        assert_true(yyjson_is_arr(yyjson_obj_get(yyjson_doc_get_root(doc), "result")));
        yyjson_doc_free(doc);
        assert_int_equal(sscanf(strstr(f->reply.headers.at, "ETag: "), "ETag: %39s", tag), 1);
        snprintf(line, sizeof line, "If-None-Match: %s\r\n", tag);
        assert_int_equal(fixture__send(f, "GET", target, line, "", true)->status, 304);
        pass_time(f, TRADE_VERSION_BUILDS * 60);
        assert_int_equal(fixture__send(f, "GET", target, line, "", true)->status, 200);
    }
    assert_int_equal(f->sim->ledger.n_bodies, 10);
    assert_int_equal(fixture__get(f, "/api/trade/data/else")->status, 404);
    f->options.trade_etag = false;
    fixture__get(f, "/api/trade/data/static");
    assert_false(has_header(&f->reply, "ETag"));
}

static void test_a_gateway_is_walked_to_its_end(void **state) {
    struct fixture *f = *state;
    char cursor[64] = "", target[120], before[64];
    size_t n = 0;
    f->options.limits = false;
    for (int i = 0; i < 40; i++) {
        yyjson_doc *doc;
        snprintf(target, sizeof target, "/gateway/trade/data/%s", cursor);
        assert_int_equal(fixture__get(f, target)->status, 200);
        doc = parse(&f->reply);
        strcpy(before, cursor);
        snprintf(cursor, sizeof cursor, "%s", str(yyjson_doc_get_root(doc), "next_cursor"));
        n += yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "result"));
        yyjson_doc_free(doc);
        if (strcmp(before, cursor) == 0) break;
    }
    assert_string_equal(before, cursor); /* It ended. */
    assert_int_equal(n, (TRADE_PAGES_FIRST + 1) * TRADE_PAGE_ROWS);
    assert_int_equal(f->sim->ledger.n_body_rows, n);
    pass_time(f, TRADE_PAGE_S);
    fixture__get(f, target);
    assert_int_equal(f->sim->ledger.n_body_rows, n + TRADE_PAGE_ROWS);
    fixture__get(f, target);
    assert_int_equal(f->sim->ledger.n_body_rows, n + TRADE_PAGE_ROWS); /* A page counts once. */
    assert_int_equal(fixture__get(f, "/gateway/trade/data/other")->status, 400);
}

static void test_the_trade_site_is_strict_and_can_go_away(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 12; i++)
        assert_int_equal(fixture__get(f, "/api/trade/data/static")->status, 200);
    assert_int_equal(fixture__get(f, "/api/trade/data/change-ids")->status, 429); /* One policy. */
    assert_true(has_header(&f->reply, "X-Rate-Limit-Ip: 12:4:10,16:12:300\r\n"));
    f->options.limits = false;
    fixture__fault(f, "{\"target\":\"trade_data\",\"kind\":\"status\",\"count\":1,\"value\":410}");
    assert_int_equal(fixture__get(f, "/gateway/trade/data/")->status, 410);
    fixture__fault(f, "{\"target\":\"trade_data\",\"kind\":\"status\",\"count\":1,\"value\":444}");
    assert_true(fixture__get(f, "/api/trade/data/static")->cut && f->reply.cut_bytes == 0);
    fixture__fault(f, "{\"target\":\"trade_data\",\"kind\":\"status\",\"count\":1,\"value\":403}");
    assert_int_equal(fixture__get(f, "/api/trade/data/static")->status, 403);
    assert_true(has_header(&f->reply, "cf-mitigated: challenge"));
    assert_int_equal(fixture__get(f, "/api/trade/data/static")->status, 200);
}

static void test_pages_of_others(void **state) {
    struct fixture *f = *state;
    yyjson_doc *doc;
    yyjson_val *list;
    assert_int_equal(fixture__get(f, "/poedb/us/Currency_Exchange")->status, 200);
    assert_int_equal(f->sim->ledger.n_body_rows, n_exchange_items);
    assert_int_equal(fixture__get(f, "/poedb/us/Currency_Exchange")->status, 429);
    assert_int_equal(fixture__get(f,
                                  "/wiki/w/api.php?action=cargoquery&tables=mods&fields=mods.id%3D"
                                  "id,stat_text&limit=500&offset=1180&format=json")
                         ->status,
                     200); /* Another site. */
    doc = parse(&f->reply);
    list = yyjson_obj_get(yyjson_doc_get_root(doc), "cargoquery");
    assert_int_equal(yyjson_arr_size(list), 20);
    assert_string_equal(str(yyjson_obj_get(yyjson_arr_get(list, 0), "title"), "id"),
                        "SimulatedMod1180");
    assert_non_null(yyjson_obj_get(yyjson_obj_get(yyjson_arr_get(list, 0), "title"), "stat text"));
    yyjson_doc_free(doc);
    pass_time(f, 1);
    assert_int_equal(fixture__get(f, "/wiki/w/api.php?action=query")->status, 404);
    fixture__close(f);
    {
        char *text = read_text(f, "ledger.tsv");
        assert_non_null(strstr(text, "enrichment\tpoedb\tJeweller's Orb\n"));
        assert_int_equal(count_of(text, "enrichment\twiki\t"), 20);
        free(text);
    }
}

static void test_too_many_mistakes_are_a_violation(void **state) {
    struct fixture *f = *state;
    fixture__fault(f, "{\"target\":\"psapi\",\"kind\":\"status\",\"count\":1,\"value\":404}");
    assert_int_equal(fixture__get(f, "/public-stash-tabs")->status, 404); /* Not the client's. */
    f->options.require_token = true;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(fixture__get(f, "/public-stash-tabs")->status, 401);
        pass_time(f, 2);
    }
    assert_int_equal(f->sim->ledger.n_violations, 0);
    assert_int_equal(fixture__get(f, "/stash/Standard")->status, 401);
    assert_int_equal(f->sim->ledger.n_violations, 1);
    pass_time(f, 61);
    assert_int_equal(fixture__get(f, "/nowhere")->status, 404);
    assert_int_equal(f->sim->ledger.n_violations, 1);
}

static void test_what_is_spoiled_is_not_promised(void **state) {
    struct fixture *f = *state;
    static const char *const of[][2] = {{"currency_exchange", "/api/currency-exchange"},
                                        {"account_stashes", "/stash/Standard/xx"},
                                        {"leagues", "/league"},
                                        {"trade_data", "/gateway/trade/data/"},
                                        {"enrichment", "/poedb/us/Currency_Exchange"}};
    static const char *const kinds[] = {"bad_json", "wrong_type", "truncate"};
    struct account_view v = {.seed = f->options.seed, .league = "Standard"};
    char id[ACCOUNT_ID_MAX], json[120], target[80];
    struct body *list = account__list(&v);
    f->options.limits = false;
    assert_int_equal(sscanf(list->data, "{\"stashes\":[{\"id\":\"%10[0-9a-f]", id), 1);
    body__unref(list);
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 3; k++) {
            snprintf(json, sizeof json, "{\"target\":\"%s\",\"kind\":\"%s\",\"count\":1}", of[i][0],
                     kinds[k]);
            fixture__fault(f, json);
            snprintf(target, sizeof target, "%s", of[i][1]);
            if (i == 1) snprintf(target, sizeof target, "/stash/Standard/%s", id);
            assert_int_equal(fixture__get(f, target)->status, 200);
            if (f->sim->ledger.n_bodies != i) fail_msg("%s", json);
            if (k == 2) fixture__get(f, target);
        }
    assert_int_equal(f->sim->ledger.n_bodies, 5);
}

static void test_a_restart_does_not_promise_twice(void **state) {
    struct fixture *f = *state;
    char *before, *after;
    fixture__get(f, "/api/currency-exchange");
    fixture__get(f, "/league");
    fixture__close(f);
    before = read_text(f, "ledger.tsv");
    assert_int_equal(count_of(before, "\nbody\t"), 2);
    fixture__open(f);
    fixture__get(f, "/api/currency-exchange"); /* The history of the first start. */
    fixture__get(f, "/league");
    fixture__close(f);
    after = read_text(f, "ledger.tsv");
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void test_options_of_the_new_routes(void **state) {
    struct options o;
    struct sim_err err = {""};
    char *wrong[][5] = {{"souk-sim", "--port", "0", "--scopes", "service:all"},
                        {"souk-sim", "--port", "0", "--client", "souk"},
                        {"souk-sim", "--port", "0", "--cx-history", "0"}};
    char *right[] = {"souk-sim",     "--port",    "0", "--scopes",     "none", "--client", "a:b",
                     "--trade-etag", "--cx-late", "0", "--token-life", "5"};
    (void)state;
    for (size_t i = 0; i < 3; i++) assert_int_equal(options__parse(&o, 5, wrong[i], &err), -1);
    assert_int_equal(options__parse(&o, 12, right, &err), 0);
    assert_true(o.trade_etag && o.cx_late_s == 0 && o.token_life_s == 5);
}

static void test_bodies_are_replayed(enum data_origin origin) {
    static const struct {
        size_t n_groups, n_tabs, n_items;
        const char *traded;
    } want[] = {
        [DATA_MADE] = {15, 18, 166, "LanternPack"},
        [DATA_RECORDED] = {23, 20, 1084, "ToadAllflamePack"},
    };
    char dir[1024], target[80], *words[] = {"--replay", dir, "--limits", "off"};
    struct fixture f;
    yyjson_doc *doc;
    yyjson_val *one;
    size_t i, n, n_items = 0;
    snprintf(dir, sizeof dir, "%s", data__dir(origin));
    fixture__init(&f, 4, words);
    fixture__open(&f);
    fixture__get(&f, "/api/trade/data/static");
    doc = parse(&f.reply);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "result")),
                     want[origin].n_groups);
    yyjson_doc_free(doc);
    assert_int_equal(fixture__get(&f, "/currency-exchange")->status, 200);
    assert_non_null(strstr(f.reply.body->data, want[origin].traded));
    fixture__get(&f, "/stash/Standard");
    doc = parse(&f.reply);
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "stashes"), i, n, one) {
        yyjson_doc *tab;
        snprintf(target, sizeof target, "/stash/Standard/%s", str(one, "id"));
        assert_int_equal(fixture__get(&f, target)->status, 200);
        tab = parse(&f.reply);
        n_items += yyjson_arr_size(
            yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(tab), "stash"), "items"));
        yyjson_doc_free(tab);
    }
    yyjson_doc_free(doc);
    assert_int_equal(n, want[origin].n_tabs);
    assert_int_equal(n_items, want[origin].n_items);
    assert_int_equal(fixture__get(&f, "/league")->status, 200); /* What has no recording is made. */
    fixture__fini(&f);
}
DATA_TESTS_OF(test_bodies_are_replayed)

/* The control paths are for programs of this machine: a page of a browser gives itself away, and a
 * name that is made to point here is no address. */
static void test_no_page_commands_the_simulator(void **state) {
    struct fixture *f = *state;
    static const char *const pages[] = {"Origin: https://page.example\r\n", "Origin: null\r\n",
                                        "Sec-Fetch-Site: cross-site\r\n",
                                        "Sec-Fetch-Site: same-site\r\n"};
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        assert_int_equal(fixture__send(f, "POST", "/_sim/stop", pages[i], "", true)->status, 403);
        assert_int_equal(fixture__send(f, "GET", "/_sim/status", pages[i], "", true)->status, 403);
    }
    assert_false(f->sim->stop_wanted);
    static const struct {
        const char *host;
        int status;
    } hosts[] = {{"evil.example:8787", 403}, {"127.0.0.1.evil.example", 403},
                 {"localhost.evil", 403},    {"localhost:8787", 200},
                 {"127.0.0.1", 200},         {"[::1]:8787", 200}};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        char text[256];
        static struct http_request q;
        int n = snprintf(text, sizeof text, "GET /_sim/status HTTP/1.1\r\nHost: %s\r\n\r\n",
                         hosts[i].host);
        reply__fini(&f->reply);
        assert_int_equal(http__parse(text, (size_t)n, &q), n);
        sim__handle(f->sim, &q, &f->reply);
        assert_int_equal(f->reply.status, hosts[i].status);
    }
    assert_int_equal(
        fixture__send(f, "GET", "/_sim/status", "Sec-Fetch-Site: none\r\n", "", true)->status, 200);
}

/* Any folder that has some of the known bodies will do, and what it lacks is not made up. */
static void test_what_a_folder_has_is_served(void **state) {
    const char *source = getenv("SOUK_SOURCE");
    char dir[400], ninja[500], *words[] = {"--replay", dir, "--limits", "off"};
    struct fixture f;
    struct buf told = {0};
    struct sim_err err;
    (void)state;
    assert_non_null(source);
    snprintf(dir, sizeof dir, "%s/tests/data", source);
    fixture__init(&f, 4, words);
    fixture__open(&f);
    sim__tell_recorded(f.sim, &told);
    assert_string_equal(
        told.at,
        "recorded: psapi (1 pages) poe_ninja (3 overviews) trade_data (5 lists) currency_exchange "
        "(1 digests); simulated: account_stashes leagues; not served: none");
    fixture__get(&f, "/poe1/api/economy/exchange/current/overview?league=Standard&type=Scarab");
    assert_int_equal(f.reply.status, 200);
    assert_non_null(strstr(f.reply.body->data, "primaryValue"));
    fixture__fini(&f);
    /* One overview, alone. */
    strcpy(dir, "/tmp/souk_sim_[b]*\\_XXXXXX"); /* No pattern, a name. */
    assert_non_null(mkdtemp(dir));
    fixture__init(&f, 4, words);
    f.sim = calloc(1, sizeof *f.sim);
    assert_int_equal(sim__init(f.sim, &f.options, (struct sim_clock){0}, &err), -1);
    assert_non_null(strstr(err.msg, "none of the known bodies"));
    fixture__close(&f);
    snprintf(ninja, sizeof ninja, "%s/ninja", dir);
    assert_int_equal(mkdir(ninja, 0700), 0);
    snprintf(ninja, sizeof ninja, "%s/ninja/item@UniqueRing.json", dir);
    FILE *out = fopen(ninja, "w");
    assert_non_null(out);
    fputs("{\"lines\":[{\"id\":7}]}", out);
    fclose(out);
    fixture__open(&f);
    buf__reset(&told);
    sim__tell_recorded(f.sim, &told);
    assert_non_null(strstr(told.at, "recorded: poe_ninja (1 overviews); "));
    assert_non_null(strstr(told.at, "not served: psapi"));
    assert_int_equal(fixture__get(&f, "/public-stash-tabs")->status, 404);
    assert_int_equal(
        fixture__get(
            &f, "/poe1/api/economy/stash/current/item/overview?league=Standard&type=UniqueRing")
            ->status,
        200);
    assert_int_not_equal(
        fixture__get(
            &f, "/poe1/api/economy/stash/current/item/overview?league=Standard&type=UniqueJewel")
            ->status,
        200);
    fixture__fini(&f);
    buf__fini(&told);
    remove(ninja);
    snprintf(ninja, sizeof ninja, "%s/ninja", dir);
    rmdir(ninja);
    rmdir(dir);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_a_token_says_what_was_granted),
        CASE(test_wrong_credentials),
        CASE(test_no_page_commands_the_simulator),
        CASE(test_a_token_opens_its_scopes_for_its_time),
        CASE(test_a_restarted_simulator_knows_its_tokens),
        CASE(test_a_head_shows_the_state_once_a_minute),
        CASE(test_the_exchange_has_a_history_and_an_end),
        CASE(test_an_hour_is_published_late_and_never_changes),
        CASE(test_the_cdn_takes_two_requests_a_second),
        CASE(test_a_tree_of_tabs_can_be_read_whole),
        cmocka_unit_test(test_tabs_change_slowly),
        CASE(test_leagues_in_both_forms),
        CASE(test_lists_of_the_trade_site_change_now_and_then),
        CASE(test_a_gateway_is_walked_to_its_end),
        CASE(test_the_trade_site_is_strict_and_can_go_away),
        CASE(test_pages_of_others),
        CASE(test_too_many_mistakes_are_a_violation),
        CASE(test_what_is_spoiled_is_not_promised),
        CASE(test_a_restart_does_not_promise_twice),
        cmocka_unit_test(test_options_of_the_new_routes),
        DATA_TESTS(test_bodies_are_replayed),
        cmocka_unit_test(test_what_a_folder_has_is_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
