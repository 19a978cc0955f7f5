/* Records to rows. The happy path: facts, body, the source's decode, then the rows about the
 * request. What can fail becomes a quarantine row with the start of the body. */
#include "souk/record_rows.h"
#include "souk/core/log.h"
#include "souk/core/refusal.h"
#include "souk/decode.h"
#include "souk/ops_rows.h"
#include "souk/tables.h"
#include <stdio.h>
#include <stdlib.h>

#define REFUSED_BODY_MAX 4096

int followed__set(struct followed *f, const char *lines) {
    followed__fini(f);
    f->text = strdup(lines);
    if (f->text == NULL) return ERR_NOMEM;
    char *save = NULL;
    for (char *name = strtok_r(f->text, "\n", &save); name != NULL && f->n < FOLLOWED_MAX;
         name = strtok_r(NULL, "\n", &save))
        f->names[f->n++] = name;
    return 0;
}

void followed__fini(struct followed *f) {
    free(f->text);
    *f = (struct followed){0};
}

static int decode_body(const struct request_facts *f, uint64_t lsn, struct slice packed,
                       const struct followed *followed, struct buf *body, struct rows *rows,
                       struct err *e) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(f->source));
    const struct source_type *type = source__find(name);
    if (type == NULL) return err__setf(e, ERR_NOT_FOUND, "no source is called %s", name);
    int status = journal__decompress(packed, body->max, body);
    if (status != 0)
        return err__setf(e, status, "%s: cannot decompress: %s", name, err__text(status));
    struct stream_spec stream;
    journal__stream(f, &stream);
    struct page page = {.stream = &stream,
                        .cursor_from = f->cursor_from,
                        .cursor_to = f->cursor_to,
                        .received_wall_ns = f->received_wall_ns,
                        .lsn = lsn,
                        .freshness = (enum page_freshness)f->freshness,
                        .http_status = f->http_status,
                        .limits_raw = f->limits_raw,
                        .body = buf__slice(body)};
    struct decode_context context = {.followed = followed->names, .n_followed = followed->n};
    status = type->decode(&page, &context, rows, e);
    if (status == 0 && rows->failed)
        status =
            err__setf(e, rows__no_memory(rows) ? ERR_NOMEM : ERR_FULL, "%s: too many rows", name);
    for (size_t i = 0; status == 0 && i < rows->n; i++)
        if (batch__failed(&rows->batches[i].batch))
            status = err__setf(e, ERR_FULL, "%s: a column is over its bound", name);
    return status;
}

static void refuse_page(const struct request_facts *f, uint64_t lsn, const struct buf *body,
                        struct rows *rows, const struct err *e) {
    rows__fini(rows);
    LOG_ERROR("sources", "page cannot be decoded", LOG_SL("stream", f->stream), LOG_I("lsn", lsn),
              LOG_E(e));
    struct batch *b = rows__batch(rows, &table_bronze_quarantine, (struct slice){0});
    if (b == NULL) return;
    struct slice start = buf__slice(body);
    if (start.len > REFUSED_BODY_MAX) start.len = REFUSED_BODY_MAX;
    char src[64];
    snprintf(src, sizeof src, "%.*s", SLICE_FMT(f->source));
    struct quarantine_row row = {.wall_ns = f->received_wall_ns,
                                 .source = f->source,
                                 .table_name = SLICE_LIT(""),
                                 .reason = SLICE_LIT("undecodable_page"),
                                 .field = slice__str(e->msg),
                                 .cursor = f->cursor_from,
                                 .payload = start,
                                 .origin = {.src = src, .lsn = lsn, .ord = 0}};
    tables__quarantine_row(b, &row);
}

int record_rows__make(const struct spool_record *rec, const struct followed *followed,
                      struct buf *meta, struct buf *body, struct request_facts *facts,
                      struct rows *rows) {
    struct err e = {0};
    struct slice packed = {0};
    buf__clear(meta);
    buf__clear(body);
    int status = journal__decode(rec->payload, facts, &packed);
    if (status == 0) { /* The facts must outlive the reader's buffer. */
        struct slice none;
        status = buf__append(meta, rec->payload.base, rec->payload.len - packed.len)
                     ? journal__decode(buf__slice(meta), facts, &none)
                     : ERR_NOMEM;
    }
    if (status != 0) { /* Half-read facts would point into the reader's buffer. */
        *facts = (struct request_facts){.requested_wall_ns = rec->wall_ns,
                                        .received_wall_ns = rec->wall_ns,
                                        .retry_after_s = -1};
        err__setf(&e, status, "record cannot be read: %s", err__text(status));
    }
    if (status == 0 && rec->type == SPOOL_PAGE)
        status = decode_body(facts, rec->lsn, packed, followed, body, rows, &e);
    if (status != 0 && status != ERR_NOMEM) refuse_page(facts, rec->lsn, body, rows, &e);
    if (status != ERR_NOMEM) journal__rows(facts, rec->lsn, rows__count(rows), rows);
    if (status != ERR_NOMEM && !rows__no_memory(rows)) return status == 0 ? 0 : ERR_MALFORMED;
    rows__fini(rows);
    rows->failed = true;
    return ERR_NOMEM;
}

int record_rows__refusal(const struct spool_record *rec, struct rows *rows) {
    struct refusal r;
    if (refusal__decode(rec->payload, &r) != 0) {
        LOG_ERROR("sources", "refusal cannot be read", LOG_I("lsn", rec->lsn));
        return ERR_MALFORMED;
    }
    char src[64], value[QUARANTINE_VALUE_MAX], field[64];
    snprintf(src, sizeof src, "%.*s", SLICE_FMT(r.src));
    snprintf(value, sizeof value, "%.*s", SLICE_FMT(r.message));
    snprintf(field, sizeof field, "lsn %llu, ord %llu", (unsigned long long)r.lsn,
             (unsigned long long)r.ord);
    struct batch *b = rows__batch(rows, &table_bronze_quarantine, (struct slice){0});
    struct quarantine_row row = {.wall_ns = rec->wall_ns,
                                 .source = r.src,
                                 .table_name = r.table,
                                 .reason = SLICE_LIT(REFUSAL_REASON),
                                 .field = slice__str(field),
                                 .value = slice__str(value),
                                 .payload = r.payload,
                                 .origin = {.src = src, .lsn = rec->lsn, .ord = 0}};
    if (b != NULL) tables__quarantine_row(b, &row);
    return rows__no_memory(rows) ? ERR_NOMEM : 0;
}

struct record_decoder {
    struct followed followed;
    struct buf meta, body;
};

struct record_decoder *record_decoder__new(const char *followed) {
    struct record_decoder *d = calloc(1, sizeof *d);
    if (d == NULL) return NULL;
    d->meta = buf__init(SPOOL_RECORD_MAX);
    d->body = buf__init(DECODE_BODY_MAX + 1);
    if (followed__set(&d->followed, followed) == 0) return d;
    record_decoder__free(d);
    return NULL;
}

static int follow(struct record_decoder *d, const struct spool_record *rec) {
    char *text = slice__dup(rec->payload);
    int status = text == NULL ? ERR_NOMEM : followed__set(&d->followed, text);
    free(text);
    return status;
}

int record_decoder__rows(struct record_decoder *d, const struct spool_record *rec,
                         struct rows *out) {
    struct request_facts facts;
    int status = 0;
    *out = (struct rows){0};
    if (rec->type == SPOOL_CONFIG) return follow(d, rec);
    if (rec->type == SPOOL_PAGE || rec->type == SPOOL_REQUEST)
        status = record_rows__make(rec, &d->followed, &d->meta, &d->body, &facts, out);
    else if (rec->type == SPOOL_QUARANTINE) status = record_rows__refusal(rec, out);
    else if (rec->type == SPOOL_OPS) status = ops_rows__make(rec, out);
    if (status != ERR_NOMEM && !out->failed) return 0;
    rows__fini(out);
    return ERR_NOMEM;
}

void record_decoder__free(struct record_decoder *d) {
    if (d == NULL) return;
    buf__fini(&d->meta);
    buf__fini(&d->body);
    followed__fini(&d->followed);
    free(d);
}
