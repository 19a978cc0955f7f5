/* Records to rows. The happy path: facts, body, the source's decode, then the rows about the
 * request. What can fail becomes a quarantine row with the start of the body. */
#include "souk/record_rows.h"
#include "souk/core/log.h"
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
                        .body = buf__slice(body)};
    struct decode_context context = {.followed = followed->names, .n_followed = followed->n};
    status = type->decode(&page, &context, rows, e);
    if (status == 0 && rows->failed) status = err__setf(e, ERR_NOMEM, "%s: too many rows", name);
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

bool record_rows__make(const struct spool_record *rec, const struct followed *followed,
                       struct buf *meta, struct buf *body, struct request_facts *facts,
                       struct rows *rows) {
    struct err e = {0};
    struct slice packed = {0};
    buf__clear(meta);
    buf__clear(body);
    int status = journal__decode(rec->payload, facts, &packed);
    if (status == 0) { /* The facts must outlive the reader's buffer. */
        struct slice none;
        buf__append(meta, rec->payload.base, rec->payload.len - packed.len);
        status = journal__decode(buf__slice(meta), facts, &none);
    }
    if (status != 0) { /* Half-read facts would point into the reader's buffer. */
        *facts = (struct request_facts){.requested_wall_ns = rec->wall_ns,
                                        .received_wall_ns = rec->wall_ns,
                                        .retry_after_s = -1};
        err__setf(&e, status, "record cannot be read: %s", err__text(status));
    }
    if (status == 0 && rec->type == SPOOL_PAGE)
        status = decode_body(facts, rec->lsn, packed, followed, body, rows, &e);
    if (status != 0) refuse_page(facts, rec->lsn, body, rows, &e);
    journal__rows(facts, rec->lsn, rows__count(rows), rows);
    return status == 0;
}
