/* Records through the tape. The happy path: facts, body, the time of the page, its stashes, a row
 * an event. What can fail: a page that cannot be decoded or is not in the log any more, whose
 * stashes are not known from then on; memory, which is fatal once the tape has taken in a part of
 * the page. */
#include "souk/core/log.h"
#include "souk/listing_row.h"
#include "souk/tape_records.h"
#include <stdio.h>

#define SOURCE "psapi"

struct taking {
    struct tape_records *t;
    const struct decode_context *context;
    const struct page *page;
    struct rows *rows;
    uint32_t ord;
};

static void on_event(void *ctx, const struct tape_event *event) {
    struct taking *k = ctx;
    const struct row_origin origin = {.src = SOURCE, .lsn = k->page->lsn, .ord = k->ord++};
    if (k->page->lsn < k->t->tell_from_lsn) {
        k->t->n_untold++;
        return;
    }
    struct slice key = source__league_key(k->context, event->league);
    struct batch *b = rows__batch(k->rows, &table_silver_listing_events, key);
    if (b == NULL) return; /* rows->failed says so. */
    listing__row(b, event, key, k->page->cursor_from, &origin);
    k->t->n_told[event->kind]++;
}

static int on_version(void *ctx, const struct tape_version *v) {
    struct taking *k = ctx;
    struct err e = {0};
    int status = tape__version(k->t->tape, v, on_event, k, &e);
    if (status == ERR_NOMEM) return status;
    if (status != 0) k->t->count.n_refused_stashes++; /* A stash without an id, or far too large. */
    return 0;
}

static bool has_failed(const struct rows *rows) {
    bool failed = rows->failed;
    for (size_t i = 0; i < rows->n; i++) failed |= batch__failed(&rows->batches[i].batch);
    return failed;
}

static int take_page(struct tape_records *t, const struct request_facts *facts, uint64_t lsn,
                     const struct followed *followed, const struct buf *body, struct rows *rows,
                     struct err *e) {
    struct stream_spec stream;
    journal__stream(facts, &stream);
    const struct page page = {.stream = &stream,
                              .cursor_from = facts->cursor_from,
                              .cursor_to = facts->cursor_to,
                              .received_wall_ns = facts->received_wall_ns,
                              .lsn = lsn,
                              .freshness = (enum page_freshness)facts->freshness,
                              .body = buf__slice(body)};
    const struct decode_context context = {.followed = followed->names, .n_followed = followed->n};
    struct taking k = {.t = t, .context = &context, .page = &page, .rows = rows};
    tape__follows(t->tape, facts->realm, facts->cursor_from, facts->cursor_to);
    bool caught_up = tape__page(t->tape, facts->realm, facts->received_wall_ns, false);
    int status = psapi_versions__each(&page, caught_up, on_version, &k, &t->count, e);
    /* More events than a page can have rows is no memory either: nothing of it may be lost. */
    if (status == ERR_NOMEM || has_failed(rows)) {
        t->broken = true;
        return err__setf(e, ERR_NOMEM, "no memory for the events of a page");
    }
    t->n_pages += status == 0;
    return status;
}

int tape_records__take(struct tape_records *t, const struct spool_record *rec,
                       const struct followed *followed, struct buf *body, struct rows *rows) {
    struct request_facts facts = {0};
    struct slice packed;
    struct err e = {0};
    *rows = (struct rows){0};
    buf__clear(body);
    if (t->broken) return ERR_NOMEM; /* A page taken in twice would say less the second time. */
    if (rec->type != SPOOL_PAGE && rec->type != SPOOL_REQUEST) return 0;
    int status = journal__decode(rec->payload, &facts, &packed);
    if (status == 0 && !slice__eq(facts.source, SLICE_LIT(SOURCE))) return 0;
    /* What it brings may be older than what is known, and would tell of sales that never were. */
    if (status == 0 && journal__is_backfill(&facts)) return 0;
    if (status == 0 && rec->type == SPOOL_REQUEST) { /* The end of the stream, perhaps. */
        if (slice__eq(facts.status, SLICE_LIT("empty")))
            tape__page(t->tape, facts.realm, facts.received_wall_ns, true);
        if (slice__eq(facts.method, SLICE_LIT(JOURNAL_CURSOR_METHOD)) &&
            (facts.flags & REQUEST_ADVANCES))
            tape__lost(t->tape, facts.realm, facts.received_wall_ns);
        return 0;
    }
    if (status == 0) status = journal__decompress(packed, body->max, body);
    if (status == 0) status = take_page(t, &facts, rec->lsn, followed, body, rows, &e);
    if (status == 0) return 0;
    rows__fini(rows);
    if (status == ERR_NOMEM) return status;
    t->n_undecodable++;
    /* Without facts the next page tells, as it does not lead on from the one before. */
    if (facts.realm.len > 0) tape__lost(t->tape, facts.realm, facts.received_wall_ns);
    LOG_ERROR("tape", "page is left out", LOG_I("lsn", rec->lsn),
              LOG_S("err", e.msg[0] != '\0' ? e.msg : err__text(status)));
    return ERR_MALFORMED;
}
