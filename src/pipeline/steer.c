/* What people do to a stream: another cursor, frozen, unfrozen. It waits until no request is under
 * way, becomes a record, and holds once that is synced: so a restart knows it, and a page that was
 * on its way cannot undo it. What can fail: the disk; then nothing has changed. */
#include "poller_internal.h"
#include <stdio.h>

static const char *const status_texts[] = {
    [POLLER_SET] = "set", [POLLER_FREEZE] = "frozen", [POLLER_UNFREEZE] = "unfrozen"};

void poller__bound(struct poller *p, const struct poller_bound *bound) { p->bound = *bound; }

void poller__restore_hold(struct poller *p, struct slice reason) {
    p->held = reason.len > 0;
    snprintf(p->held_reason, sizeof p->held_reason, "%.*s", SLICE_FMT(reason));
}

const char *poller__hold(const struct poller *p) { return p->held ? p->held_reason : ""; }

int poller__steer(struct poller *p, enum poller_steer what, const char *cursor, const char *reason,
                  poller_steered_cb cb, void *data, struct err *e) {
    char wanted[CURSOR_MAX] = "";
    if (p->close_cb != NULL || p->doing == POLL_STOPPED)
        return err__setf(e, ERR_REFUSED, "%s is ending", p->stream->key);
    if (p->steer.waits || p->steer.kept)
        return err__setf(e, ERR_REFUSED, "%s: another change is under way", p->stream->key);
    if (what == POLLER_SET && p->type->cursor == NULL)
        return err__setf(e, ERR_REFUSED, "%s: its cursors are not positions that one could set",
                         p->type->name);
    if (what == POLLER_SET) {
        int code = p->type->cursor(cursor, wanted, e);
        if (code != 0) return code;
    }
    p->steer.what = what;
    p->steer.waits = true;
    p->steer.cb = cb;
    p->steer.data = data;
    snprintf(p->steer.cursor, sizeof p->steer.cursor, "%s", wanted);
    snprintf(p->steer.reason, sizeof p->steer.reason, "%s", reason);
    if (p->doing == POLL_IDLE) poller__take_steer(p);
    else if (p->doing == POLL_WAIT) governor__cancel(p->deps.governor, &p->permit);
    return 0;
}

bool poller__take_steer(struct poller *p) {
    const struct stream_spec *s = p->stream;
    int64_t wall_ns = p->deps.clock->wall_ns;
    if (!p->steer.waits) return false;
    bool moves = p->steer.what == POLLER_SET;
    p->steer.waits = false;
    p->steer.kept = true;
    uv_timer_stop(&p->timer);
    p->facts =
        (struct request_facts){.flags = moves ? REQUEST_ADVANCES | REQUEST_CHECKPOINT : 0,
                               .source = slice__str(p->type->name),
                               .stream = slice__str(s->key),
                               .service = slice__str(s->service),
                               .realm = slice__str(s->realm),
                               .league = slice__str(s->league),
                               .kind = slice__str(s->kind),
                               .path = slice__str(s->path),
                               .method = SLICE_LIT(JOURNAL_CURSOR_METHOD),
                               .cursor_from = slice__str(p->state.cursor),
                               .cursor_to = slice__str(moves ? p->steer.cursor : p->state.cursor),
                               .etag = slice__str(moves ? "" : p->state.etag),
                               .attempts = 1,
                               .status = slice__str(status_texts[p->steer.what]),
                               .requested_wall_ns = wall_ns,
                               .received_wall_ns = wall_ns,
                               .retry_after_s = -1,
                               .error = slice__str(p->steer.reason)};
    poller__keep(p, &p->facts, false);
    return true;
}

static void apply(struct poller *p) {
    p->backoff_until_mono_ns = 0;
    if (p->steer.what == POLLER_FREEZE) poller__restore_hold(p, slice__str(p->steer.reason));
    if (p->steer.what == POLLER_UNFREEZE) poller__restore_hold(p, (struct slice){0});
    if (p->steer.what != POLLER_SET) return;
    snprintf(p->last_cursor, sizeof p->last_cursor, "%s", p->state.cursor);
    snprintf(p->state.cursor, sizeof p->state.cursor, "%s", p->steer.cursor);
    p->state.etag[0] = '\0';
    buf__clear(&p->memo); /* It is about the place that was left, as hours to skip from there. */
    p->state.memo = buf__slice(&p->memo);
    p->state.caught_up = p->state.unavailable = p->frozen = false;
    p->state.n_failures = p->attempts = p->n_oversized = p->n_refusals = 0;
    p->last_error[0] = p->retry_reason[0] = '\0';
}

void poller__end_steer(struct poller *p, int status) {
    poller_steered_cb cb = p->steer.cb;
    if (!p->steer.waits && !p->steer.kept) return;
    if (status == 0) apply(p);
    p->steer.waits = p->steer.kept = false;
    cb(p->steer.data, status);
}
