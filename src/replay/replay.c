/* The replay itself. The happy path of a record: in range, judged again, decoded as the decoder
 * does it, counted by quality, hashed, batched; full batches go to the sink, all of a run of pages
 * together, so that what is noted as stored is stored whole. What can fail: a damaged range is
 * counted and passed, a page that cannot be decoded is its quarantine row, the rest ends it. */
#include "souk/replay.h"
#include "row_hash.h"
#include "souk/core/log.h"
#include "souk/decode.h"
#include "souk/record_rows.h"
#include "souk/tables.h"
#include <assert.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#define ROWS_MAX_DEFAULT 50000
#define BYTES_MAX_DEFAULT ((size_t)8 << 20)

struct table_sums {
    const struct table_desc *table;
    struct row_hash made;            /* As decoded. */
    struct row_hash batched, sealed; /* Given to the batcher; come out of it. */
    uint64_t n_stored;
};

struct replay {
    struct replay_options options;
    struct clock clock; /* Virtual: the records' own time. */
    struct batcher batcher;
    struct followed followed;
    struct metrics metrics;
    struct quality quality;
    struct buf meta, body, cells;
    struct table_sums tables[REPLAY_TABLES_MAX];
    size_t n_tables;
    uint64_t position; /* Of the next record in the batcher; the log's own may repeat. */
    struct replay_result result;
};

static void on_sealed(void *ctx, struct sealed *sealed) {
    (void)ctx;
    sealed->state = SEALED_READY; /* No log to write a seal to. */
}

static int init_quality(struct replay *r) {
    const char *names[QUALITY_SOURCES_MAX];
    size_t n;
    const struct source_type *const *types = source__all(&n);
    assert(n <= QUALITY_SOURCES_MAX);
    for (size_t i = 0; i < n; i++) names[i] = types[i]->name;
    return quality__init(&r->quality, &r->metrics, names, n);
}

int replay__new(struct replay **out, const struct replay_options *options, struct err *e) {
    struct replay *r = calloc(1, sizeof *r);
    if (r == NULL) return err__setf(e, ERR_NOMEM, "replay: out of memory");
    r->options = *options;
    if (r->options.rows_max == 0) r->options.rows_max = ROWS_MAX_DEFAULT;
    if (r->options.bytes_max == 0) r->options.bytes_max = BYTES_MAX_DEFAULT;
    r->meta = buf__init(SPOOL_RECORD_MAX);
    r->body = buf__init(DECODE_BODY_MAX + 1);
    r->cells = buf__init(BATCH_COLUMN_BYTES_MAX);
    /* Age never cuts: pages of hours apart may share a batch. */
    struct batcher_options batches = {.store_id = "replay",
                                      .rows_max = r->options.rows_max,
                                      .bytes_max = r->options.bytes_max,
                                      .age_max_ns = INT64_MAX};
    int code = metrics__init(&r->metrics);
    if (code == 0) code = init_quality(r);
    if (code == 0) code = batcher__init(&r->batcher, &r->clock, &batches);
    if (code == 0)
        code = followed__set(&r->followed, options->followed == NULL ? "" : options->followed);
    if (code != 0) {
        replay__free(r);
        return err__setf(e, code, "replay: %s", err__text(code));
    }
    r->batcher.on_sealed = on_sealed;
    *out = r;
    return 0;
}

void replay__free(struct replay *r) {
    if (r == NULL) return;
    batcher__fini(&r->batcher);
    followed__fini(&r->followed);
    metrics__fini(&r->metrics);
    buf__fini(&r->meta);
    buf__fini(&r->body);
    buf__fini(&r->cells);
    free(r);
}

static struct table_sums *sums_of(struct replay *r, const struct table_desc *table) {
    for (size_t i = 0; i < r->n_tables; i++)
        if (r->tables[i].table == table) return &r->tables[i];
    assert(r->n_tables < REPLAY_TABLES_MAX);
    r->tables[r->n_tables] = (struct table_sums){.table = table};
    return &r->tables[r->n_tables++];
}

static bool is_about_requests(const struct table_desc *t) {
    return t == &table_bronze_requests || t == &table_bronze_ingest_checkpoints;
}

/* Batches to the sink. */

static void make_token(const struct sealed *s, char out[ROW_HASH_SIZE]) {
    struct buf text = buf__init(512);
    buf__printf(&text, "souk replay 1\n%s\n%s\n%d\n%llu\n%s", s->seal.table, s->seal.part,
                (int)s->seal.day, (unsigned long long)s->seal.n_rows, s->seal.hash);
    row_hash__bytes(buf__slice(&text), out);
    buf__fini(&text);
}

static int send_batch(struct replay *r, const struct sealed *s, struct err *e) {
    struct table_sums *t = sums_of(r, s->batch.table);
    if (row_hash__add(&t->sealed, NULL, &s->batch, &r->cells) != 0)
        return err__setf(e, ERR_NOMEM, "replay: out of memory");
    r->result.n_batches++;
    if (r->options.sink == NULL) return 0;
    char token[ROW_HASH_SIZE];
    make_token(s, token);
    int code = r->options.sink->insert(r->options.sink, s, token, e);
    if (code == 0) t->n_stored += s->batch.n_rows;
    return code;
}

/* Ends all open batches and sends them. */
static int flush(struct replay *r, struct err *e) {
    struct sealed *s;
    int code = 0;
    batcher__cut(&r->batcher, true);
    while (code == 0 && (s = batcher__next(&r->batcher, 0, NULL)) != NULL) {
        s->state = SEALED_SENDING;
        code = send_batch(r, s, e);
        if (code == 0) batcher__stored(&r->batcher, s);
    }
    if (code != 0) return code;
    if (r->batcher.n_sealed > 0 || r->batcher.open_rows > 0 || batcher__imbalance(&r->batcher) != 0)
        return err__setf(e, ERR_NOMEM, "replay: batches cannot be cut");
    return r->options.sink == NULL ? 0 : r->options.sink->commit(r->options.sink, e);
}

/* Records to rows. */

static bool is_in_range(const struct replay *r, uint64_t lsn, const struct request_facts *f) {
    const struct replay_range *in = &r->options.range;
    char name[160];
    if (lsn < in->from_lsn || (in->to_lsn != 0 && lsn >= in->to_lsn)) return false;
    if (f->received_wall_ns < in->from_wall_ns ||
        (in->to_wall_ns != 0 && f->received_wall_ns >= in->to_wall_ns))
        return false;
    if (r->options.sources == NULL) return true;
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(f->source));
    if (fnmatch(r->options.sources, name, 0) == 0) return true;
    snprintf(name, sizeof name, "%.*s/%.*s", SLICE_FMT(f->source), SLICE_FMT(f->stream));
    return fnmatch(r->options.sources, name, 0) == 0;
}

/* The record's time becomes ours. Wall time may go back, as it did then; the other never does. */
static void advance(struct replay *r, int64_t wall_ns) {
    if (r->clock.wall_ns != 0 && wall_ns > r->clock.wall_ns)
        r->clock.mono_ns += wall_ns - r->clock.wall_ns;
    r->clock.wall_ns = wall_ns;
    if (r->result.first_wall_ns == 0 || wall_ns < r->result.first_wall_ns)
        r->result.first_wall_ns = wall_ns;
    if (wall_ns > r->result.last_wall_ns) r->result.last_wall_ns = wall_ns;
}

/* Whether today's judge keeps the page as the log has it: a new page to the same next cursor. The
 * log's word stands either way. Repeated bodies were judged when they came. */
static bool is_judged_alike(const struct request_facts *f, const struct source_type *type,
                            struct slice body) {
    struct stream_spec stream;
    struct stream_state state = {.now = {.wall_ns = f->received_wall_ns}};
    struct page_facts page;
    struct err e;
    struct source_header etag = {.name = SLICE_LIT("etag"), .value = f->etag};
    struct source_answer answer = {
        .status = f->http_status, .headers = &etag, .n_headers = f->etag.len > 0, .body = body};
    journal__stream(f, &stream);
    snprintf(state.cursor, sizeof state.cursor, "%.*s", SLICE_FMT(f->cursor_from));
    page = (struct page_facts){.verdict = PAGE_INVALID};
    int code = type->judge(&stream, &state, &answer, &page, &e);
    buf__fini(&page.memo);
    buf__fini(&page.secret);
    buf__fini(&page.keep);
    return code == 0 && page.verdict == PAGE_NEW &&
           slice__eq(slice__str(page.next_cursor), f->cursor_to);
}

static const struct source_type *source_of(const struct request_facts *f) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(f->source));
    return source__find(name);
}

static void count(struct replay *r, const struct replay_feed *feed, const struct spool_record *rec,
                  const struct request_facts *f, const struct rows *rows, bool decoded) {
    const struct source_type *type = source_of(f);
    bool is_page = rec->type == SPOOL_PAGE;
    r->result.n_pages += is_page;
    r->result.n_requests++;
    r->result.body_bytes += r->body.len;
    r->result.n_undecodable += !decoded;
    bool anew = is_page && decoded && !feed->judged && f->freshness == PAGE_FRESH;
    /* A page of another status is what judge made of an answer, and not the answer. */
    if (anew && (type->judges_once || f->http_status != 200)) r->result.n_unjudged++;
    else if (anew && !is_judged_alike(f, type, buf__slice(&r->body))) {
        r->result.n_judged_otherwise++;
        LOG_WARN("replay", "page would be judged otherwise now", LOG_SL("stream", f->stream),
                 LOG_I("lsn", rec->lsn));
    }
    if (type != NULL) quality__count(&r->quality, type->name, rows);
}

/* Takes out of @rows the batches about requests, or all others. */
static void drop_batches(struct rows *rows, bool about_requests) {
    size_t n = 0;
    for (size_t i = 0; i < rows->n; i++) {
        if (is_about_requests(rows->batches[i].batch.table) == about_requests)
            batch__fini(&rows->batches[i].batch);
        else rows->batches[n++] = rows->batches[i];
    }
    rows->n = n;
}

/* A record that cannot be read is called by its bytes. */
static void unread_id(const struct spool_record *rec, const char *what, char out[ROW_HASH_SIZE]) {
    struct buf text = buf__init(256);
    char bytes[ROW_HASH_SIZE];
    row_hash__bytes(rec->payload, bytes);
    buf__printf(&text, "%s %d %s", what, (int)rec->type, bytes);
    row_hash__bytes(buf__slice(&text), out);
    buf__fini(&text);
}

/* What a page is called wherever it is kept: by its source, stream, cursors, time and body. Its
 * position is no part of it, as the next log has another. */
static void page_id(const struct replay *r, const struct request_facts *f,
                    char out[ROW_HASH_SIZE]) {
    struct buf text = buf__init(8192);
    char body[ROW_HASH_SIZE];
    row_hash__bytes(buf__slice(&r->body), body);
    buf__string(&text, SLICE_LIT("page"));
    buf__string(&text, f->source);
    buf__string(&text, f->stream);
    buf__string(&text, f->cursor_from);
    buf__string(&text, f->cursor_to);
    buf__u64(&text, (uint64_t)(f->received_wall_ns / NS_PER_MS)); /* As precise as a row has it. */
    buf__u8(&text, f->freshness);
    buf__string(&text, slice__str(body));
    row_hash__bytes(buf__slice(&text), out);
    buf__fini(&text);
}

static void request_id(const struct replay *r, char out[ROW_HASH_SIZE]) {
    struct buf text = buf__init(SPOOL_RECORD_MAX + 64);
    buf__string(&text, SLICE_LIT("request"));
    buf__append_slice(&text, buf__slice(&r->meta));
    row_hash__bytes(buf__slice(&text), out);
    buf__fini(&text);
}

/* What of a record the sink has had already: its page's rows, those about its request. */
struct known {
    bool page, request;
};

static struct known find_known(struct replay *r, const struct replay_feed *feed,
                               const struct spool_record *rec, const struct request_facts *f) {
    char id[ROW_HASH_SIZE];
    struct replay_sink *sink = r->options.sink;
    struct known known = {0};
    if (sink == NULL) return known;
    if (rec->type == SPOOL_PAGE) {
        if (r->meta.len == 0) unread_id(rec, "unread page", id);
        else page_id(r, f, id);
        known.page = !sink->claim(sink, id);
    }
    if (feed->has_requests) {
        if (r->meta.len == 0) unread_id(rec, "unread request", id);
        else request_id(r, id);
        known.request = !sink->claim(sink, id);
    }
    r->result.n_known += known.page || known.request;
    return known;
}

static int hash_rows(struct replay *r, const struct rows *rows, struct known known, struct err *e) {
    for (size_t i = 0; i < rows->n; i++) {
        const struct batch *b = &rows->batches[i].batch;
        struct table_sums *t = sums_of(r, b->table);
        bool dropped = is_about_requests(b->table) ? known.request : known.page;
        if (row_hash__add(&t->made, dropped ? NULL : &t->batched, b, &r->cells) != 0)
            return err__setf(e, ERR_NOMEM, "replay: out of memory");
    }
    return 0;
}

static int take_rows(struct replay *r, const struct replay_feed *feed,
                     const struct spool_record *rec, const struct request_facts *f,
                     struct rows *rows, struct err *e) {
    if (rows->failed) return err__setf(e, ERR_NOMEM, "replay: out of memory");
    if (!feed->has_requests) drop_batches(rows, true);
    struct known known = find_known(r, feed, rec, f);
    int code = hash_rows(r, rows, known, e);
    if (code != 0) return code;
    if (known.page) drop_batches(rows, false);
    if (known.request) drop_batches(rows, true);
    uint64_t at = r->position++;
    code = batcher__rows(&r->batcher, 0, at, at + 1, r->clock.wall_ns, rows);
    if (code != 0)
        return err__setf(e, code, "replay: rows of position %llu do not fit a batch: %s",
                         (unsigned long long)rec->lsn, err__text(code));
    bool full = r->batcher.n_sealed > 0 || r->batcher.open_rows >= r->options.rows_max ||
                r->batcher.open_bytes >= r->options.bytes_max;
    return full ? flush(r, e) : 0;
}

static int take_config(struct replay *r, struct slice payload, struct err *e) {
    char *text = slice__dup(payload);
    int code = text == NULL ? ERR_NOMEM : followed__set(&r->followed, text);
    free(text);
    return code == 0 ? 0 : err__setf(e, code, "replay: out of memory");
}

static int take(struct replay *r, const struct replay_feed *feed, const struct spool_record *rec,
                struct err *e) {
    struct request_facts facts;
    struct slice packed;
    if (rec->type == SPOOL_CONFIG) return take_config(r, rec->payload, e);
    if (rec->type != SPOOL_PAGE && rec->type != SPOOL_REQUEST) return 0;
    if (journal__decode(rec->payload, &facts, &packed) != 0)
        facts = (struct request_facts){.received_wall_ns = rec->wall_ns};
    if (!is_in_range(r, rec->lsn, &facts)) return 0;
    int code =
        r->options.step == NULL ? 0 : r->options.step(r->options.ctx, facts.received_wall_ns, e);
    if (code != 0) return code;
    advance(r, facts.received_wall_ns);
    struct rows rows = {0};
    code = record_rows__make(rec, &r->followed, &r->meta, &r->body, &facts, &rows);
    if (code == ERR_NOMEM) return err__setf(e, ERR_NOMEM, "replay: out of memory");
    count(r, feed, rec, &facts, &rows, code == 0);
    code = take_rows(r, feed, rec, &facts, &rows, e);
    rows__fini(&rows);
    return code;
}

/* The result. */

static int by_name(const void *a, const void *b) {
    const struct table_sums *x = a, *y = b;
    return strcmp(x->table->name, y->table->name);
}

static void hash_all(struct replay_result *out) {
    struct buf rows = buf__init(4096), log = buf__init(4096);
    for (size_t i = 0; i < out->n_tables; i++) {
        const struct replay_table *t = &out->tables[i];
        buf__printf(&log, "%s %llu %s\n", t->table->name, (unsigned long long)t->n_rows, t->log);
        if (!is_about_requests(t->table))
            buf__printf(&rows, "%s %llu %s\n", t->table->name, (unsigned long long)t->n_rows,
                        t->rows);
    }
    row_hash__bytes(buf__slice(&rows), out->rows);
    row_hash__bytes(buf__slice(&log), out->log);
    buf__fini(&rows);
    buf__fini(&log);
}

static void count_refused(const struct replay *r, struct replay_result *out) {
    for (size_t i = 0; i < r->quality.n_sources; i++)
        for (unsigned k = QUALITY_OK + 1; k < QUALITY__N; k++)
            out->refused[k] += (uint64_t)r->quality.sources[i].quarantined[k]->value;
}

static int finish(struct replay *r, struct replay_result *out, struct err *e) {
    *out = r->result;
    qsort(r->tables, r->n_tables, sizeof *r->tables, by_name);
    for (size_t i = 0; i < r->n_tables; i++) {
        const struct table_sums *t = &r->tables[i];
        if (t->batched.n_rows != t->sealed.n_rows || t->batched.low != t->sealed.low ||
            t->batched.high != t->sealed.high)
            return err__setf(e, ERR_PROTOCOL, "replay: %s: batches hold other rows than decoded",
                             t->table->name);
        if (t->made.n_rows == 0) continue;
        struct replay_table *to = &out->tables[out->n_tables++];
        *to = (struct replay_table){
            .table = t->table, .n_rows = t->made.n_rows, .n_stored = t->n_stored};
        row_hash__text(t->made.low, t->made.high, to->rows);
        row_hash__text(t->made.chain_low, t->made.chain_high, to->log);
    }
    count_refused(r, out);
    hash_all(out);
    return 0;
}

int replay__run(struct replay *r, struct replay_feed *feed, struct replay_result *out,
                struct err *e) {
    struct spool_record rec;
    int code;
    *out = (struct replay_result){0};
    while ((code = feed->next(feed, &rec, e)) != 0) {
        if (code == ERR_CORRUPT) {
            r->result.n_damaged++;
            LOG_ERROR("replay", "damaged range is passed", LOG_E(e));
            continue;
        }
        if (code < 0) return code;
        if ((code = take(r, feed, &rec, e)) != 0) return code;
        const struct replay_range *range = &r->options.range;
        if (range->to_lsn != 0 && rec.next_lsn >= range->to_lsn) break;
    }
    code = flush(r, e);
    return code != 0 ? code : finish(r, out, e);
}
