/* Reads records, decodes pages, keeps their order. What can fail: a record that cannot be read
 * (logged, counted, tried again: recovery at the next start sets it aside). How a record becomes
 * rows is in record_rows.c. */
#include "souk/decoder.h"
#include "souk/core/log.h"
#include "souk/decode.h"
#include "souk/ops_rows.h"
#include "souk/record_rows.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define JOB_ITEMS_MAX 64
/* Decompressed bytes after which a job hands over: the loop takes a job's rows in one turn, which
 * copies about twice as many bytes, and must not hold up others for long. */
#define JOB_BYTES_MAX ((size_t)1 << 20)
#define CONTEXTS_MAX 16
#define READ_AGAIN_MS 10000

struct item {
    uint64_t lsn, next_lsn;
    int64_t wall_ns;
    struct request_facts facts;
    struct buf meta; /* Owns what the facts point to. */
    struct rows rows;
    size_t n_rows;   /* As they were made. */
    bool failed;     /* The page, or the refused row, could not be decoded. */
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
    struct followed followed; /* Of the context in force. */
    /* The loop's. */
    struct context contexts[CONTEXTS_MAX];
    size_t n_contexts;
    struct series *failures, *made;
    void (*close_cb)(void *data);
    void *close_data;
};

static int push_context(struct decoder *d, uint64_t lsn, char *text) {
    if (text == NULL) return ERR_NOMEM;
    if (d->n_contexts == CONTEXTS_MAX) { /* The oldest can't be asked for any more in practice. */
        free(d->contexts[0].text);
        memmove(d->contexts, d->contexts + 1, sizeof *d->contexts * (CONTEXTS_MAX - 1));
        d->n_contexts--;
    }
    d->contexts[d->n_contexts++] = (struct context){.from_lsn = lsn, .text = text};
    return followed__set(&d->followed, text);
}

const char *decoder__followed_at(const struct decoder *d, uint64_t lsn) {
    const char *text = d->contexts[0].text;
    for (size_t i = 1; i < d->n_contexts; i++)
        if (d->contexts[i].from_lsn <= lsn) text = d->contexts[i].text;
    return text;
}

/* On the thread pool from here... */

/* @return 0, or ERR_NOMEM: then the item has no rows, and the record is to be decoded again. It is
 * sound, so it must not pass for one that makes no rows. */
static int decode_record(struct decoder *d, const struct spool_record *rec) {
    struct item *item = &d->items[d->n_items++];
    *item = (struct item){.lsn = rec->lsn,
                          .next_lsn = rec->next_lsn,
                          .wall_ns = rec->wall_ns,
                          .meta = buf__init(SPOOL_RECORD_MAX)};
    int status =
        record_rows__make(rec, &d->followed, &item->meta, &d->body, &item->facts, &item->rows);
    item->failed = status == ERR_MALFORMED;
    return status == ERR_NOMEM ? ERR_NOMEM : 0;
}

/* A row that ClickHouse refused, or rows about souk. @return as decode_record does. */
static int take_other(struct decoder *d, const struct spool_record *rec) {
    struct item *item = &d->items[d->n_items++];
    *item = (struct item){
        .lsn = rec->lsn, .next_lsn = rec->next_lsn, .wall_ns = rec->wall_ns, .no_request = true};
    int status = rec->type == SPOOL_OPS ? ops_rows__make(rec, &item->rows)
                                        : record_rows__refusal(rec, &item->rows);
    item->failed = status == ERR_MALFORMED;
    return status == ERR_NOMEM ? ERR_NOMEM : 0;
}

/* A record for somebody else's rows. @return as decode_record does. */
static int make_rows(struct decoder *d, const struct spool_record *rec) {
    struct item *item = &d->items[d->n_items++];
    *item = (struct item){
        .lsn = rec->lsn, .next_lsn = rec->next_lsn, .wall_ns = rec->wall_ns, .no_request = true};
    int status = d->deps.make(d->deps.ctx, rec, &d->followed, &d->body, &item->rows);
    return status == ERR_NOMEM ? ERR_NOMEM : 0;
}

/* @return 0, or ERR_NOMEM with nothing of the record kept. */
static int take_record(struct decoder *d, const struct spool_record *rec) {
    int status = 0;
    bool request = rec->type == SPOOL_PAGE || rec->type == SPOOL_REQUEST;
    bool other = rec->type == SPOOL_QUARANTINE || rec->type == SPOOL_OPS;
    if (request && d->deps.make != NULL) status = make_rows(d, rec);
    else if (request) status = decode_record(d, rec);
    else if (other && d->deps.make == NULL) status = take_other(d, rec);
    else if (rec->type == SPOOL_CONFIG) {
        d->new_context = slice__dup(rec->payload);
        d->new_context_lsn = rec->lsn;
        return d->new_context == NULL ? ERR_NOMEM : 0;
    }
    if (status == 0 && d->n_items > 0) {
        struct item *item = &d->items[d->n_items - 1];
        item->n_rows = rows__count(&item->rows);
    } else if (status != 0) {
        struct item *item = &d->items[--d->n_items];
        buf__fini(&item->meta);
        rows__fini(&item->rows);
    }
    return status;
}

static void on_work(uv_work_t *work) {
    struct decoder *d = work->data;
    struct spool_record rec;
    size_t bytes = 0;
    if (d->followed.text == NULL &&
        followed__set(&d->followed, d->contexts[d->n_contexts - 1].text) != 0) {
        /* Without it rows would go to other partitions. */
        d->read_status = err__setf(&d->err, ERR_NOMEM, "no memory for the followed leagues");
        return;
    }
    while (d->n_items < JOB_ITEMS_MAX && bytes < JOB_BYTES_MAX && d->new_context == NULL) {
        d->read_status = spool_reader__next(&d->reader, d->until, &rec, &d->err);
        if (d->read_status == ERR_CORRUPT) d->after = d->reader.at;
        if (d->read_status == 0) d->after = d->until; /* Nothing else is there. */
        if (d->read_status != 1) break;
        if (take_record(d, &rec) != 0) { /* What came before it is handed on; it comes again. */
            d->reader.at = rec.lsn;
            d->read_status = err__setf(&d->err, ERR_NOMEM, "no memory for a record");
            return;
        }
        d->after = rec.next_lsn;
        d->after_wall_ns = rec.wall_ns;
        bytes += d->body.len;
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
    followed__fini(&d->followed);
    free(d);
    cb(data);
}

static void hand_on(struct decoder *d) {
    for (size_t i = 0; i < d->n_items; i++) {
        struct item *item = &d->items[i];
        if (item->failed) series__inc(d->failures);
        series__add(d->made, (double)item->n_rows);
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
        if (d != NULL && d->n_contexts > 0) free(d->contexts[0].text);
        free(d);
        return err__setf(e, ERR_NOMEM, "decoder: out of memory");
    }
    d->deps = *deps;
    d->at = from_lsn;
    d->end = until_lsn;
    d->body = buf__init(DECODE_BODY_MAX + 1);
    d->retry.data = d;
    uv_timer_init(deps->loop, &d->retry);
    spool_reader__init(&d->reader, deps->spool, from_lsn);
    d->failures = metrics__counter(deps->metrics, "souk_pages_undecodable_total",
                                   "Pages that were judged sound, and rows that ClickHouse "
                                   "refused, which could not be decoded.",
                                   "");
    d->made = metrics__counter(deps->metrics, "souk_rows_decoded_total",
                               "Rows that the records of the log became.", "");
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

bool decoder__works(const struct decoder *d) { return d->working; }

bool decoder__busy(const struct decoder *d) { return d->working || d->at < readable(d); }

void decoder__end_at(struct decoder *d, uint64_t lsn) { d->end = lsn; }

void decoder__go_on(struct decoder *d, uint64_t from_lsn, uint64_t until_lsn) {
    assert(decoder__ended(d) && from_lsn >= d->at && until_lsn >= from_lsn);
    spool_reader__fini(&d->reader);
    spool_reader__init(&d->reader, d->deps.spool, from_lsn);
    d->at = from_lsn;
    d->end = until_lsn;
    decoder__wake(d);
}

bool decoder__ended(const struct decoder *d) {
    return d->end != 0 && !d->working && d->at >= d->end;
}

int64_t decoder__lag_ns(const struct decoder *d) {
    if (d->at >= readable(d) || d->at_wall_ns == 0) return 0;
    int64_t ns = d->deps.clock->wall_ns - d->at_wall_ns;
    return ns > 0 ? ns : 0;
}
