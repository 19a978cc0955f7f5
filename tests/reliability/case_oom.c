/* Case 50, what needs no loop: memory ends at the k-th allocation, for every k. What was asked for
 * fails with an error or is whole; nothing leaks, and the same call works when memory is back. */
#include "../../subprojects/ch-native/src/packet.h"
#include "../../subprojects/ch-native/src/request.h"
#include "oom.h"
#include "score.h"
#include "souk/batcher.h"
#include "souk/config.h"
#include "souk/core/log.h"
#include "souk/governor.h"
#include "souk/journal.h"
#include <ch_native/ch_native.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* libyaml 0.2.5 itself loses 64 bytes when the second allocation of yaml_parser_load fails. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:yaml_parser_load\n"; }

static uint64_t n_refused;

static char *read_file(const char *path, struct slice *out) {
    char full[4096];
    const char *root = getenv("SOUK_SOURCE");
    snprintf(full, sizeof full, "%s/%s", root == NULL ? "." : root, path);
    FILE *f = fopen(full, "rb");
    if (f == NULL) fail_msg("%s: set SOUK_SOURCE", full);
    char *bytes = malloc(1 << 20);
    *out = slice__of(bytes, fread(bytes, 1, 1 << 20, f));
    fclose(f);
    return bytes;
}

/* --- Configuration: loaded whole, or refused with a reason. --- */

static const char config_text[] = "agent:\n  contact: me@example.org\nleagues: [Standard, Mirage]\n"
                                  "sources:\n  psapi:\n    enabled: true\n    realms: [pc, sony]\n"
                                  "clickhouse:\n  host: db.example\n";

static const char *config_env_of(const char *name) {
    return strcmp(name, "POE_CLIENT_SECRET") == 0 ? "secret" : NULL;
}

static bool run_config(void *ctx, uint64_t k, enum oom_kind kind) {
    struct buf *expected = ctx, printed = buf__init(1 << 20);
    static struct config_errors errs;
    struct config *c = NULL;
    oom__arm(k, kind);
    int code = config__parse("f", slice__str(config_text), config_env_of, &c, &errs);
    bool hit = oom__disarm();
    assert_true(code == 0 ? c != NULL : c == NULL && errs.n > 0);
    if (code == 0) {
        assert_int_equal(config__print(c, &printed), 0);
        if (k == 0) buf__append_slice(expected, buf__slice(&printed));
        assert_true(slice__eq(buf__slice(&printed), buf__slice(expected)));
        buf__clear(&printed);
        oom__arm(k, kind);
        code = config__print(c, &printed);
        if (!oom__disarm()) assert_int_equal(code, 0);
        if (code == 0) assert_true(slice__eq(buf__slice(&printed), buf__slice(expected)));
        config__free(c);
    } else {
        assert_true(hit);
    }
    buf__fini(&printed);
    return hit;
}

static void test_config_is_whole_or_refused(void **state) {
    (void)state;
    struct buf expected = buf__init(1 << 20);
    run_config(&expected, 0, OOM_ONCE); /* What libraries take once and keep. */
    buf__clear(&expected);
    n_refused += oom__sweep("config", run_config, &expected);
    buf__fini(&expected);
    assert_true(oom__no_leaks());
}

/* --- A page: all its rows or ERR_NOMEM. --- */

struct page_case {
    const struct source_type *type;
    struct stream_spec stream;
    struct slice body;
    size_t n_rows;
    char hashes[8][33];
};

static bool run_page(void *ctx, uint64_t k, enum oom_kind kind) {
    struct page_case *p = ctx;
    static const char *const followed[] = {"Standard"};
    static const struct decode_context context = {.followed = followed, .n_followed = 1};
    const struct stream_state at = {.cursor = ""};
    const struct source_answer answer = {.status = 200, .body = p->body};
    const struct page page = {.stream = &p->stream,
                              .cursor_from = SLICE_LIT("1"),
                              .cursor_to = SLICE_LIT("2"),
                              .received_wall_ns = 1795262400 * NS_PER_S,
                              .body = p->body};
    struct page_facts facts;
    struct rows rows = {0};
    struct err e = {0};
    oom__arm(k, kind);
    int judged = p->type->judge(&p->stream, &at, &answer, &facts, &e);
    int code = p->type->decode(&page, &context, &rows, &e);
    char hash[33] = "";
    for (size_t i = 0; code == 0 && i < rows.n; i++) batch__hash(&rows.batches[i].batch, hash);
    bool hit = oom__disarm();
    assert_true(judged == 0 || judged == ERR_NOMEM);
    if (code == 0) {
        for (size_t i = 0; i < rows.n; i++) {
            batch__hash(&rows.batches[i].batch, hash);
            if (k == 0) memcpy(p->hashes[i], hash, sizeof hash);
            assert_string_equal(hash, p->hashes[i]);
        }
        if (k == 0) p->n_rows = rows__count(&rows);
        assert_int_equal(rows__count(&rows), p->n_rows);
        assert_true(p->n_rows > 1);
    } else {
        assert_int_equal(code, ERR_NOMEM);
        assert_int_equal(rows__count(&rows), 0);
        assert_true(hit);
    }
    rows__fini(&rows);
    return hit;
}

static void test_pages_make_all_their_rows_or_none(void **state) {
    (void)state;
    static const struct {
        const char *source, *kind, *file;
    } cases[] = {{"psapi", "", "tests/data/psapi/page.json"},
                 {"psapi", "", NULL}, /* A lone surrogate, which takes a second way to be read. */
                 {"poe_ninja", "exchange/Currency", "tests/data/ninja/exchange.json"},
                 {"poe_ninja", "item/UniqueWeapon", "tests/data/ninja/item.json"},
                 {"poe_ninja", "currency/Currency", "tests/data/ninja/currency.json"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct page_case p = {.type = source__find(cases[i].source),
                              .stream = {.key = "k", .realm = "pc", .league = "Standard"}};
        char *bytes = NULL;
        snprintf(p.stream.kind, sizeof p.stream.kind, "%s", cases[i].kind);
        if (cases[i].file != NULL) bytes = read_file(cases[i].file, &p.body);
        else
            p.body = SLICE_LIT("{\"next_change_id\":\"3\",\"stashes\":[{\"id\":\"a\",\"public\":true,"
                               "\"league\":\"Standard\",\"items\":[{\"typeLine\":\"\\ud800\"},"
                               "{\"typeLine\":7}]}]}");
        n_refused += oom__sweep(cases[i].source, run_page, &p);
        free(bytes);
    }
    assert_true(oom__no_leaks());
}

/* --- The journal: a record that fails says so. --- */

static bool run_journal(void *ctx, uint64_t k, enum oom_kind kind) {
    (void)ctx;
    static const struct request_facts facts = {.source = {"psapi", 5},
                                               .flags = REQUEST_CHECKPOINT,
                                               .cursor_to = {"1-2", 3},
                                               .status = {"ok", 2}};
    struct slice text = SLICE_LIT("{\"next_change_id\":\"1-2\",\"stashes\":[]}"), packed;
    struct buf record = buf__init(1 << 20), body = buf__init(1 << 20);
    struct request_facts again;
    struct rows rows = {0};
    oom__arm(k, kind);
    journal__encode(&facts, &record);
    int compressed = record.failed ? ERR_NOMEM : journal__compress(text, &record);
    int read = compressed == 0 ? journal__decode(buf__slice(&record), &again, &packed) : ERR_NOMEM;
    int unpacked = read == 0 ? journal__decompress(packed, 1 << 20, &body) : ERR_NOMEM;
    if (unpacked == 0) journal__rows(&again, 1, 1, &rows);
    bool hit = oom__disarm();
    assert_true(compressed == 0 || compressed == ERR_NOMEM);
    assert_int_equal(read, compressed); /* What was written can be read. */
    assert_true(unpacked == 0 || unpacked == ERR_NOMEM);
    if (unpacked == 0) {
        assert_true(slice__eq(buf__slice(&body), text));
        assert_true(rows__no_memory(&rows) || rows__count(&rows) == 2);
    } else {
        assert_true(hit);
    }
    rows__fini(&rows);
    buf__fini(&record);
    buf__fini(&body);
    return hit;
}

static void test_records_are_whole_or_refused(void **state) {
    (void)state;
    n_refused += oom__sweep("journal", run_journal, NULL);
    assert_true(oom__no_leaks());
}

/* --- The batcher: after an error it is freed, and the log has what it held. --- */

static const struct column_desc lsn_columns[] = {{"lsn", "UInt64", COLUMN_U64},
                                                 {"text", "String", COLUMN_STR}};
static const struct table_desc lsn_table = {.name = "t", .columns = lsn_columns, .n_columns = 2};

struct seals {
    struct seal seals[64];
    size_t n;
};

static void on_sealed(void *ctx, struct sealed *s) {
    struct seals *all = ctx;
    assert_true(all->n < 64);
    all->seals[all->n++] = s->seal;
    s->state = SEALED_READY;
}

static int take_pages(struct batcher *b, uint64_t from) {
    int code = 0;
    for (uint64_t lsn = from; code == 0 && lsn < from + 12; lsn++) {
        struct rows rows = {0};
        for (uint64_t i = 0; i < lsn; i++) {
            struct batch *t = rows__batch(&rows, &lsn_table, lsn % 2 ? SLICE_LIT("a") : SLICE_LIT("b"));
            if (t == NULL) break;
            batch__begin(t), batch__u64(t, lsn), batch__cstr(t, "text"), batch__end(t);
        }
        /* The decoder hands on only what is whole. */
        if (rows__no_memory(&rows)) code = ERR_NOMEM;
        else code = batcher__rows(b, 0, lsn, lsn + 1, 0, &rows);
        rows__fini(&rows);
    }
    return code;
}

static bool run_batcher(void *ctx, uint64_t k, enum oom_kind kind) {
    struct seals *expected = ctx, got = {.n = 0};
    struct clock clock = {0};
    struct batcher_options options = {.store_id = "s", .rows_max = 9, .bytes_max = 1 << 20};
    struct batcher b;
    oom__arm(k, kind);
    int code = batcher__init(&b, &clock, &options);
    b.on_sealed = on_sealed;
    b.ctx = &got;
    if (code == 0) code = take_pages(&b, 1);
    if (code == 0) batcher__cut(&b, true);
    bool hit = oom__disarm();
    assert_true(code == 0 || (hit && code == ERR_NOMEM));
    if (code == 0) { /* A cut that found no memory is made by the next one. */
        batcher__cut(&b, true);
        assert_int_equal(batcher__imbalance(&b), 0);
        if (k == 0) *expected = got;
        uint64_t n_rows = 0;
        for (size_t i = 0; i < got.n; i++) n_rows += got.seals[i].n_rows;
        assert_int_equal(n_rows, 12 * 13 / 2);
    }
    batcher__fini(&b);
    return hit;
}

static bool run_recovery(void *ctx, uint64_t k, enum oom_kind kind) {
    const struct seals *log = ctx;
    struct seals got = {.n = 0};
    struct clock clock = {0};
    struct batcher_options options = {.store_id = "s", .rows_max = 9, .bytes_max = 1 << 20};
    struct batcher b;
    oom__arm(k, kind);
    int code = batcher__init(&b, &clock, &options);
    b.on_sealed = on_sealed;
    b.ctx = &got;
    for (size_t i = 0; code == 0 && i < log->n; i++) code = batcher__recover_seal(&b, &log->seals[i]);
    if (code == 0) batcher__recover_ack(&b, log->seals[0].token);
    if (code == 0) code = take_pages(&b, 1);
    bool hit = oom__disarm();
    assert_true(code == 0 || (hit && code == ERR_NOMEM));
    if (code == 0) {
        size_t n = 0;
        for (const struct sealed *s = b.first; s != NULL; s = s->next, n++) assert_true(s->matches);
        assert_int_equal(n, log->n - 1); /* The same batches, but for the one that is stored. */
        assert_int_equal(got.n, 0);
        assert_int_equal(batcher__imbalance(&b), 0);
    }
    batcher__fini(&b);
    return hit;
}

static void test_batches_are_whole_or_in_the_log(void **state) {
    (void)state;
    struct seals log = {.n = 0};
    n_refused += oom__sweep("batcher", run_batcher, &log);
    assert_true(log.n > 2);
    n_refused += oom__sweep("batcher recovery", run_recovery, &log);
    assert_true(oom__no_leaks());
}

/* --- The governor: what it could not remember it does not allow. --- */

#define S NS_PER_S

struct asked {
    size_t n_granted;
};
static void on_permit(struct permit *p, int status) {
    struct asked *a = p->data;
    a->n_granted += status == 0;
}

static const struct governor_header limit_headers[] = {
    {SLICE_LIT("X-Rate-Limit-Policy"), SLICE_LIT("p")},
    {SLICE_LIT("X-Rate-Limit-Rules"), SLICE_LIT("Ip,Account")},
    {SLICE_LIT("X-Rate-Limit-Ip"), SLICE_LIT("15:10:60,60:300:300")},
    {SLICE_LIT("X-Rate-Limit-Ip-State"), SLICE_LIT("1:10:0,1:300:0")},
    {SLICE_LIT("X-Rate-Limit-Account"), SLICE_LIT("12:30:60")},
    {SLICE_LIT("X-Rate-Limit-Account-State"), SLICE_LIT("1:30:0")}};

/* Asks for 100 s, answering each grant at once. @return how many were granted in any 30 s. */
static size_t ask(struct governor *g, struct clock *clock, struct endpoint *ep, int64_t seconds) {
    int64_t granted_ns[600];
    size_t n = 0, worst = 0;
    for (int64_t end_ns = clock->mono_ns + seconds * S; clock->mono_ns < end_ns;) {
        struct asked a = {0};
        struct permit p = {.data = &a};
        if (governor__acquire(g, ep, &p, "key", on_permit) != 0) {
            clock->mono_ns += S, clock->wall_ns += S;
            continue;
        }
        while (a.n_granted == 0 && clock->mono_ns < end_ns) {
            clock->mono_ns += S / 5, clock->wall_ns += S / 5;
            governor__tick(g);
        }
        if (a.n_granted == 0) {
            governor__cancel(g, &p);
            governor__tick(g);
            break;
        }
        struct governor_reply reply = {.status = 200,
                                       .dispatched = true,
                                       .headers = limit_headers,
                                       .n_headers = 6,
                                       .done_mono_ns = clock->mono_ns};
        governor__report(g, &p, &reply, NULL);
        assert_true(n < 600);
        granted_ns[n++] = clock->mono_ns;
        size_t in_window = 0;
        for (size_t i = 0; i < n; i++) in_window += granted_ns[i] > clock->mono_ns - 30 * S;
        if (in_window > worst) worst = in_window;
    }
    return worst;
}

struct governed {
    struct governor *g;
    struct endpoint *ep;
    struct clock clock;
    struct metrics metrics;
    uv_loop_t loop;
};

static const struct endpoint_options psapi_options = {.name = "psapi", .host = "h", .rate_per_s = 5};

static void open_governor(struct governed *v) {
    struct err e;
    v->clock = (struct clock){.mono_ns = 1000 * S, .wall_ns = 1795262400 * S};
    assert_int_equal(uv_loop_init(&v->loop), 0);
    assert_int_equal(metrics__init(&v->metrics), 0);
    assert_int_equal(governor__open(&v->g, &v->loop, &v->clock, &v->metrics, NULL, &e), 0);
    v->ep = governor__endpoint(v->g, &psapi_options);
    assert_non_null(v->ep);
}

static void close_governor(struct governed *v) {
    if (v->g != NULL) governor__close(v->g, NULL, NULL);
    uv_run(&v->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&v->loop), 0);
    metrics__fini(&v->metrics);
}

static bool run_governor(void *ctx, uint64_t k, enum oom_kind kind) {
    (void)ctx;
    struct governed v = {0};
    struct err e;
    assert_int_equal(uv_loop_init(&v.loop), 0);
    assert_int_equal(metrics__init(&v.metrics), 0);
    v.clock = (struct clock){.mono_ns = 1000 * S, .wall_ns = 1795262400 * S};
    oom__arm(k, kind);
    int code = governor__open(&v.g, &v.loop, &v.clock, &v.metrics, NULL, &e);
    v.ep = code == 0 ? governor__endpoint(v.g, &psapi_options) : NULL;
    size_t worst = v.ep == NULL ? 0 : ask(v.g, &v.clock, v.ep, 60);
    bool hit = oom__disarm();
    if (!hit) assert_true(worst > 1);
    assert_true(hit || v.ep != NULL);
    if (v.ep != NULL) {
        assert_true(worst <= 12); /* Never more than the narrowest window has, whatever is forgotten. */
        assert_true(ask(v.g, &v.clock, v.ep, 400) > 1); /* It goes on. */
    }
    close_governor(&v);
    return hit;
}

static bool run_restore(void *ctx, uint64_t k, enum oom_kind kind) {
    struct buf *saved = ctx, again = buf__init(1 << 20);
    struct governed v = {0};
    struct err e;
    open_governor(&v);
    if (saved->len == 0) {
        ask(v.g, &v.clock, v.ep, 20);
        governor__save(v.g, saved);
    }
    close_governor(&v);
    open_governor(&v);
    v.clock.mono_ns += 20 * S, v.clock.wall_ns += 20 * S;
    oom__arm(k, kind);
    int code = governor__restore(v.g, buf__slice(saved), &e);
    governor__save(v.g, &again);
    bool hit = oom__disarm();
    assert_true(code == 0 || hit);
    /* All is known again, or a window that could not note a token is shut until it is back. */
    if (code == 0 && !again.failed && again.len != saved->len) {
        assert_true(again.len < saved->len && hit);
        assert_int_equal(ask(v.g, &v.clock, v.ep, 10), 0);
    }
    if (code != 0) assert_true(ask(v.g, &v.clock, v.ep, 60) <= 1); /* Waits until all is over. */
    assert_true(ask(v.g, &v.clock, v.ep, 400) > 1);
    buf__fini(&again);
    close_governor(&v);
    return hit;
}

static void test_the_governor_allows_no_more_than_it_remembers(void **state) {
    (void)state;
    struct buf saved = buf__init(1 << 20);
    n_refused += oom__sweep("governor", run_governor, NULL);
    n_refused += oom__sweep("governor restore", run_restore, &saved);
    buf__fini(&saved);
    assert_true(oom__no_leaks());
}

/* --- Blocks of ch-native, there and back. --- */

static bool run_block(void *ctx, uint64_t k, enum oom_kind kind) {
    (void)ctx;
    static const char *const types[] = {"String", "Array(LowCardinality(String))",
                                        "Map(String, UInt64)", "Nullable(Decimal(38, 6))"};
    struct chn_buf heads = {0}, pieces = {0};
    struct chn_err err = {0};
    struct chn_builder *b[4] = {NULL};
    struct chn_column columns[4];
    struct chn_decoder d = {.revision = 54460, .bytes_max = 1 << 20};
    int code = 0;
    oom__arm(k, kind);
    for (size_t i = 0; code == 0 && i < 4; i++) {
        b[i] = chn_builder__new("c", types[i], 1 << 16, &err);
        if (b[i] == NULL) code = CHN_ERR_MEMORY;
        for (int row = 0; code == 0 && row < 5; row++) code = chn_builder__default(b[i]);
        if (code == 0) code = chn_builder__column(b[i], &columns[i]);
    }
    if (code == 0)
        chn_request__block(&heads, &pieces, 54460,
                           &(struct chn_insert){.columns = columns, .n_columns = 4, .n_rows = 5});
    if (code == 0 && (heads.failed || pieces.failed)) code = CHN_ERR_MEMORY;
    bool whole = false;
    const struct chn_slice *slices = (const struct chn_slice *)(const void *)pieces.data;
    for (size_t i = 0; code == 0 && i < pieces.n / sizeof *slices; i++) {
        struct chn_reader r = {slices[i].data, (const uint8_t *)slices[i].data + slices[i].n};
        int fed = chn_decoder__feed(&d, &r, &err);
        if (fed == 0) whole = true;
        else if (fed != CHN_MORE) code = fed;
    }
    bool hit = oom__disarm();
    if (code == 0) {
        assert_true(whole);
        assert_int_equal(chn_block__n_rows(&d.block), 5);
        assert_int_equal(chn_block__n_columns(&d.block), 4);
    } else {
        assert_int_equal(code, CHN_ERR_MEMORY);
        assert_true(hit);
    }
    chn_decoder__fini(&d);
    for (size_t i = 0; i < 4; i++) chn_builder__free(b[i]);
    chn_buf__fini(&heads);
    chn_buf__fini(&pieces);
    return hit;
}

static void test_blocks_are_whole_or_refused(void **state) {
    (void)state;
    n_refused += oom__sweep("ch-native block", run_block, NULL);
    assert_true(oom__no_leaks());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_is_whole_or_refused),
        cmocka_unit_test(test_pages_make_all_their_rows_or_none),
        cmocka_unit_test(test_records_are_whole_or_refused),
        cmocka_unit_test(test_batches_are_whole_or_in_the_log),
        cmocka_unit_test(test_the_governor_allows_no_more_than_it_remembers),
        cmocka_unit_test(test_blocks_are_whole_or_refused),
    };
    log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    score__write(&(struct score){.case_number = 50,
                                 .what = "memory ends at the k-th allocation: rooms without I/O",
                                 .passed = failed == 0,
                                 .seeds = n_refused,
                                 .recovery_s = -1});
    return failed;
}
