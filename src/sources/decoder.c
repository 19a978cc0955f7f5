/* Reads records, decodes pages, keeps their order. What can fail: a record that cannot be read
 * (logged, counted, tried again: recovery at the next start sets it aside) and a page that cannot
 * be decoded though it was judged sound (its body is kept raw and a quarantine row says why). */
#include "souk/decoder.h"
#include "souk/core/log.h"
#include "souk/core/refusal.h"
#include "souk/tables.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define JOB_ITEMS_MAX 64
/* Decompressed bytes after which a job hands over: the loop takes a job's rows in one turn, which
 * copies about twice as many bytes, and must not hold up others for long. */
#define JOB_BYTES_MAX ((size_t)1 << 20)
#define FOLLOWED_MAX 64
#define CONTEXTS_MAX 16
#define READ_AGAIN_MS 10000

struct item {
    uint64_t lsn, next_lsn;
    int64_t wall_ns;
    struct request_facts facts;
    struct buf meta; /* Owns what the facts point to. */
    struct rows rows;
    bool failed;     /* The page could not be decoded. */
    bool no_request; /* It is not about a request: there are no facts. */
};

/* Followed leagues from a position on. */
struct context {
    uint64_t from_lsn;
    char *text; /* Owned: names, a line each. */
};

struct decoder {
    struct decoder_deps deps;
    struct spool_reader reader;
    uint64_t at, end;   /* 0: there is no end. */
    int64_t at_wall_ns; /* When the last record handed on was appended. */
    uv_work_t work;
    uv_timer_t retry;
    bool working;
    /* The job's own while working. */
    uint64_t until;
    struct item items[JOB_ITEMS_MAX];
    size_t n_items;
    uint64_t after; /* Position behind the last record read. */
    int64_t after_wall_ns;
    char *new_context;
    uint64_t new_context_lsn;
    int read_status;
    struct err err;
    struct buf body;
    char *names; /* The context's text, cut into terminated names. */
    const char *followed[FOLLOWED_MAX];
    size_t n_followed;
    /* The loop's. */
    struct context contexts[CONTEXTS_MAX];
    size_t n_contexts;
    struct series *failures;
    void (*close_cb)(void *data);
    void *close_data;
};

static void use_context(struct decoder *d, const char *text) {
    free(d->names);
    d->names = strdup(text);
    d->n_followed = 0;
    char *save = NULL;
    for (char *name = d->names == NULL ? NULL : strtok_r(d->names, "\n", &save);
         name != NULL && d->n_followed < FOLLOWED_MAX; name = strtok_r(NULL, "\n", &save))
        d->followed[d->n_followed++] = name;
}

static int push_context(struct decoder *d, uint64_t lsn, char *text) {
    if (text == NULL) return ERR_NOMEM;
    if (d->n_contexts == CONTEXTS_MAX) { /* The oldest can't be asked for any more in practice. */
        free(d->contexts[0].text);
        memmove(d->contexts, d->contexts + 1, sizeof *d->contexts * (CONTEXTS_MAX - 1));
        d->n_contexts--;
    }
    d->contexts[d->n_contexts++] = (struct context){.from_lsn = lsn, .text = text};
    use_context(d, text);
    return 0;
}

const char *decoder__followed_at(const struct decoder *d, uint64_t lsn) {
    const char *text = d->contexts[0].text;
    for (size_t i = 1; i < d->n_contexts; i++)
        if (d->contexts[i].from_lsn <= lsn) text = d->contexts[i].text;
    return text;
}

/* On the thread pool from here... */

static void copy_text(char *out, size_t size, struct slice s) {
    size_t n = s.len < size ? s.len : size - 1;
    if (n > 0) memcpy(out, s.base, n);
    out[n] = '\0';
}

static void describe_stream(const struct request_facts *f, struct stream_spec *out) {
    *out = (struct stream_spec){0};
    copy_text(out->key, sizeof out->key, f->stream);
    copy_text(out->realm, sizeof out->realm, f->realm);
    copy_text(out->league, sizeof out->league, f->league);
    copy_text(out->kind, sizeof out->kind, f->kind);
    copy_text(out->service, sizeof out->service, f->service);
    copy_text(out->path, sizeof out->path, f->path);
}

static int decode_body(struct decoder *d, struct item *item, struct slice packed, struct err *e) {
    const struct request_facts *f = &item->facts;
    char name[64];
    copy_text(name, sizeof name, f->source);
    const struct source_type *type = source__find(name);
    if (type == NULL) return err__setf(e, ERR_NOT_FOUND, "no source is called %s", name);
    buf__clear(&d->body);
    int status = journal__decompress(packed, SPOOL_RECORD_MAX * 2, &d->body);
    if (status != 0)
        return err__setf(e, status, "%s: cannot decompress: %s", name, err__text(status));
    struct stream_spec stream;
    describe_stream(f, &stream);
    struct page page = {.stream = &stream,
                        .cursor_from = f->cursor_from,
                        .cursor_to = f->cursor_to,
                        .received_wall_ns = f->received_wall_ns,
                        .lsn = item->lsn,
                        .freshness = (enum page_freshness)f->freshness,
                        .body = buf__slice(&d->body)};
    struct decode_context context = {.followed = d->followed, .n_followed = d->n_followed};
    status = type->decode(&page, &context, &item->rows, e);
    if (status == 0 && item->rows.failed)
        status = err__setf(e, ERR_NOMEM, "%s: too many rows", name);
    for (size_t i = 0; status == 0 && i < item->rows.n; i++)
        if (batch__failed(&item->rows.batches[i].batch))
            status = err__setf(e, ERR_FULL, "%s: a column is over its bound", name);
    return status;
}

static void refuse_page(struct decoder *d, struct item *item, const struct err *e) {
    const struct request_facts *f = &item->facts;
    item->failed = true;
    rows__fini(&item->rows);
    LOG_ERROR("sources", "page cannot be decoded", LOG_SL("stream", f->stream),
              LOG_I("lsn", item->lsn), LOG_E(e));
    struct batch *b = rows__batch(&item->rows, &table_bronze_quarantine, (struct slice){0});
    if (b == NULL) return;
    struct slice body = buf__slice(&d->body);
    if (body.len > 4096) body.len = 4096;
    char src[64];
    copy_text(src, sizeof src, f->source);
    struct quarantine_row row = {.wall_ns = f->received_wall_ns,
                                 .source = f->source,
                                 .table_name = SLICE_LIT(""),
                                 .reason = SLICE_LIT("undecodable_page"),
                                 .field = slice__str(e->msg),
                                 .cursor = f->cursor_from,
                                 .payload = body,
                                 .origin = {.src = src, .lsn = item->lsn, .ord = 0}};
    tables__quarantine_row(b, &row);
}

static void decode_record(struct decoder *d, const struct spool_record *rec) {
    struct item *item = &d->items[d->n_items++];
    *item = (struct item){.lsn = rec->lsn,
                          .next_lsn = rec->next_lsn,
                          .wall_ns = rec->wall_ns,
                          .meta = buf__init(SPOOL_RECORD_MAX)};
    struct err e = {0};
    struct slice packed = {0};
    int status = journal__decode(rec->payload, &item->facts, &packed);
    if (status == 0) { /* The facts must outlive the reader's buffer. */
        buf__append(&item->meta, rec->payload.base, rec->payload.len - packed.len);
        struct slice none;
        status = journal__decode(buf__slice(&item->meta), &item->facts, &none);
    }
    if (status != 0) { /* Half-read facts would point into the reader's buffer. */
        item->facts = (struct request_facts){.requested_wall_ns = rec->wall_ns,
                                             .received_wall_ns = rec->wall_ns,
                                             .retry_after_s = -1};
        err__setf(&e, status, "record cannot be read: %s", err__text(status));
    }
    if (status == 0 && rec->type == SPOOL_PAGE) status = decode_body(d, item, packed, &e);
    if (status != 0) refuse_page(d, item, &e);
    journal__rows(&item->facts, item->lsn, rows__count(&item->rows), &item->rows);
}

/* A row that ClickHouse refused: quarantined, as a page's refused rows are. */
static void take_refusal(struct decoder *d, const struct spool_record *rec) {
    struct refusal r;
    if (refusal__decode(rec->payload, &r) != 0) {
        LOG_ERROR("sources", "refusal cannot be read", LOG_I("lsn", rec->lsn));
        return;
    }
    struct item *item = &d->items[d->n_items++];
    *item = (struct item){
        .lsn = rec->lsn, .next_lsn = rec->next_lsn, .wall_ns = rec->wall_ns, .no_request = true};
    char src[64], value[QUARANTINE_VALUE_MAX], field[64];
    copy_text(src, sizeof src, r.src);
    snprintf(value, sizeof value, "%.*s", SLICE_FMT(r.message));
    snprintf(field, sizeof field, "lsn %llu, ord %llu", (unsigned long long)r.lsn,
             (unsigned long long)r.ord);
    struct batch *b = rows__batch(&item->rows, &table_bronze_quarantine, (struct slice){0});
    if (b == NULL) return;
    struct quarantine_row row = {.wall_ns = rec->wall_ns,
                                 .source = r.src,
                                 .table_name = r.table,
                                 .reason = SLICE_LIT(REFUSAL_REASON),
                                 .field = slice__str(field),
                                 .value = slice__str(value),
                                 .payload = r.payload,
                                 .origin = {.src = src, .lsn = rec->lsn, .ord = 0}};
    tables__quarantine_row(b, &row);
}

static void on_work(uv_work_t *work) {
    struct decoder *d = work->data;
    struct spool_record rec;
    size_t bytes = 0;
    while (d->n_items < JOB_ITEMS_MAX && bytes < JOB_BYTES_MAX && d->new_context == NULL) {
        d->read_status = spool_reader__next(&d->reader, d->until, &rec, &d->err);
        if (d->read_status == ERR_CORRUPT) d->after = d->reader.at;
        if (d->read_status == 0) d->after = d->until; /* Nothing else is there. */
        if (d->read_status != 1) break;
        d->after = rec.next_lsn;
        d->after_wall_ns = rec.wall_ns;
        if (rec.type == SPOOL_PAGE || rec.type == SPOOL_REQUEST) {
            buf__clear(&d->body);
            decode_record(d, &rec);
            bytes += d->body.len;
        } else if (rec.type == SPOOL_QUARANTINE) {
            take_refusal(d, &rec);
        } else if (rec.type == SPOOL_CONFIG) {
            d->new_context = slice__dup(rec.payload);
            d->new_context_lsn = rec.lsn;
        }
    }
}

/* ... and on the loop again. */

static void finish_close(uv_handle_t *timer) {
    struct decoder *d = timer->data;
    void (*cb)(void *) = d->close_cb;
    void *data = d->close_data;
    spool_reader__fini(&d->reader);
    buf__fini(&d->body);
    for (size_t i = 0; i < d->n_contexts; i++) free(d->contexts[i].text);
    free(d->names);
    free(d);
    cb(data);
}

static void hand_on(struct decoder *d) {
    for (size_t i = 0; i < d->n_items; i++) {
        struct item *item = &d->items[i];
        if (item->failed) series__inc(d->failures);
        d->deps.take(d->deps.ctx, item->lsn, item->next_lsn, item->wall_ns,
                     item->no_request ? NULL : &item->facts, &item->rows);
        rows__fini(&item->rows);
        buf__fini(&item->meta);
    }
    if (d->after > d->at) { /* Records that make no rows move the position too. */
        struct rows none = {0};
        d->at = d->after;
        d->at_wall_ns = d->after_wall_ns;
        d->deps.take(d->deps.ctx, d->after, d->after, d->deps.clock->wall_ns, NULL, &none);
    }
}

static void on_retry(uv_timer_t *timer) { decoder__wake(timer->data); }

static void on_done(uv_work_t *work, int status) {
    struct decoder *d = work->data;
    (void)status;
    d->working = false;
    hand_on(d);
    d->n_items = 0;
    if (d->new_context != NULL) push_context(d, d->new_context_lsn, d->new_context);
    d->new_context = NULL;
    if (d->close_cb != NULL) {
        uv_close((uv_handle_t *)&d->retry, finish_close);
        return;
    }
    if (d->read_status == ERR_CORRUPT) /* The reader stands behind the damage and goes on. */
        LOG_ERROR("sources", "damaged record is skipped", LOG_I("lsn", d->at), LOG_E(&d->err));
    else if (d->read_status < 0) {
        LOG_ERROR("sources", "cannot read the spool", LOG_I("lsn", d->at), LOG_E(&d->err));
        uv_timer_start(&d->retry, on_retry, READ_AGAIN_MS, 0);
        return;
    }
    decoder__wake(d);
}

/* @return the position up to which there is something to read. */
static uint64_t readable(const struct decoder *d) {
    struct spool_status status;
    spool__status(d->deps.spool, &status);
    return d->end != 0 && d->end < status.synced_lsn ? d->end : status.synced_lsn;
}

void decoder__wake(struct decoder *d) {
    if (d->working || d->close_cb != NULL || uv_is_active((uv_handle_t *)&d->retry)) return;
    uint64_t until = readable(d);
    if (d->at >= until || !d->deps.has_room(d->deps.ctx)) return;
    d->until = until;
    d->n_items = 0;
    d->after = d->at;
    d->work.data = d;
    d->working = uv_queue_work(d->deps.loop, &d->work, on_work, on_done) == 0;
}

int decoder__open(struct decoder **out, const struct decoder_deps *deps, uint64_t from_lsn,
                  uint64_t until_lsn, const char *followed, struct err *e) {
    struct decoder *d = calloc(1, sizeof *d);
    if (d == NULL || push_context(d, 0, strdup(followed)) != 0) {
        free(d);
        return err__setf(e, ERR_NOMEM, "decoder: out of memory");
    }
    d->deps = *deps;
    d->at = from_lsn;
    d->end = until_lsn;
    d->body = buf__init(SPOOL_RECORD_MAX * 2);
    d->retry.data = d;
    uv_timer_init(deps->loop, &d->retry);
    spool_reader__init(&d->reader, deps->spool, from_lsn);
    d->failures = metrics__counter(deps->metrics, "souk_pages_undecodable_total",
                                   "Pages that were judged sound and could not be decoded.", "");
    *out = d;
    return 0;
}

void decoder__close(struct decoder *d, void (*cb)(void *data), void *data) {
    d->close_cb = cb;
    d->close_data = data;
    uv_timer_stop(&d->retry);
    if (!d->working) uv_close((uv_handle_t *)&d->retry, finish_close);
}

uint64_t decoder__at(const struct decoder *d) { return d->at; }

bool decoder__busy(const struct decoder *d) { return d->working || d->at < readable(d); }

void decoder__end_at(struct decoder *d, uint64_t lsn) { d->end = lsn; }

bool decoder__ended(const struct decoder *d) {
    return d->end != 0 && !d->working && d->at >= d->end;
}

int64_t decoder__lag_ns(const struct decoder *d) {
    if (d->at >= readable(d) || d->at_wall_ns == 0) return 0;
    int64_t ns = d->deps.clock->wall_ns - d->at_wall_ns;
    return ns > 0 ? ns : 0;
}
