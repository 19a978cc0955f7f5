/* One stream's way from plan to synced page. What can fail: the request (backs off and asks again),
 * the answer (refused, cursor unchanged), the spool (waits until there is room). */
#include "souk/poller.h"
#include "poller_internal.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static const unsigned poll_next[] = {
    [POLL_IDLE] = 1u << POLL_WAIT | 1u << POLL_KEEP | 1u << POLL_STOPPED,
    [POLL_WAIT] = 1u << POLL_ASK | 1u << POLL_SAVE | 1u << POLL_IDLE | 1u << POLL_STOPPED,
    [POLL_ASK] = 1u << POLL_SAVE | 1u << POLL_IDLE | 1u << POLL_STOPPED,
    [POLL_SAVE] = 1u << POLL_FETCH | 1u << POLL_IDLE | 1u << POLL_STOPPED,
    [POLL_FETCH] = 1u << POLL_JUDGE | 1u << POLL_KEEP | 1u << POLL_STOPPED,
    [POLL_JUDGE] = 1u << POLL_KEEP,
    [POLL_KEEP] = 1u << POLL_IDLE | 1u << POLL_STOPPED,
    [POLL_STOPPED] = 0,
};

void poller__move(struct poller *p, enum poll_state next) {
    assert(poll_next[p->doing] & (1u << next));
    p->revision++;
    p->doing = next;
}

int poller__open(struct poller **out, const struct poller_deps *deps,
                 const struct source_type *type, const struct source_settings *settings,
                 const struct stream_spec *stream, struct err *e) {
    struct poller *p = calloc(1, sizeof *p);
    if (p == NULL) return err__setf(e, ERR_NOMEM, "poller %s: out of memory", stream->key);
    *p = (struct poller){.deps = *deps, .type = type, .settings = settings, .stream = stream};
    p->meta = buf__init(POLLER_META_MAX);
    p->memo = buf__init(SPOOL_RECORD_MAX);
    p->packed = buf__init(2 * DECODE_BODY_MAX); /* zstd wants room for what does not compress. */
    p->last_packed = buf__init(SPOOL_RECORD_MAX);
    p->job.headers_text = buf__init(HTTP_HEADER_BYTES_MAX * 2);
    p->job.poller = p;
    p->timer.data = p;
    uv_timer_init(deps->loop, &p->timer);
    poller__init_metrics(p);
    *out = p;
    return 0;
}

static void set_text(char *out, size_t size, struct slice s) {
    size_t n = s.len < size ? s.len : size - 1;
    if (n > 0) memcpy(out, s.base, n);
    out[n] = '\0';
}

void poller__restore(struct poller *p, struct slice cursor, struct slice etag) {
    set_text(p->state.cursor, sizeof p->state.cursor, cursor);
    set_text(p->state.etag, sizeof p->state.etag, etag);
    p->proven = cursor.len > 0 || etag.len > 0; /* An answer brought it. */
}

void poller__replay(struct poller *p, const struct request_facts *facts) {
    if (facts->flags & (REQUEST_ADVANCES | REQUEST_SEED))
        poller__restore(p, facts->cursor_to, facts->etag);
    if (poller__is_about_subject(facts->http_status)) p->proven = false;
    struct slice hold;
    if (journal__hold(facts, &hold)) poller__restore_hold(p, hold);
    if (facts->http_status == 200 && facts->received_wall_ns > p->last_success_wall_ns)
        p->last_success_wall_ns = facts->received_wall_ns;
}

void poller__free(struct poller *p) {
    if (p == NULL) return;
    assert(p->doing == POLL_STOPPED);
    buf__fini(&p->meta);
    buf__fini(&p->packed);
    buf__fini(&p->last_packed);
    buf__fini(&p->job.headers_text);
    buf__fini(&p->job.body);
    buf__fini(&p->job.page.memo);
    buf__fini(&p->job.page.secret);
    buf__fini(&p->job.page.keep);
    buf__fini(&p->memo);
    free(p);
}

static void finish_close(uv_handle_t *timer) {
    struct poller *p = timer->data;
    p->close_cb(p->close_data);
}

/* Ends here once nothing is in flight. */
static bool stop_if_asked(struct poller *p) {
    if (p->close_cb == NULL) return false;
    poller__end_steer(p, ERR_CANCELED);
    poller__move(p, POLL_STOPPED);
    uv_timer_stop(&p->timer);
    uv_close((uv_handle_t *)&p->timer, finish_close);
    return true;
}

/* Idle again: what somebody wanted meanwhile comes first. @return true when there was such. */
static bool settle(struct poller *p) { return stop_if_asked(p) || poller__take_steer(p); }

/* The permit can't be used after all. */
static void give_back(struct poller *p, const char *why) {
    governor__undo(p->deps.governor, &p->permit);
    if (p->gate.permit != 0) p->deps.gate->end(p->deps.gate->ctx, &p->gate, NULL);
    p->gate.permit = 0;
    snprintf(p->last_error, sizeof p->last_error, "%s", why);
    poller__move(p, POLL_IDLE);
    if (!settle(p)) poller__wait(p, POLLER_REFUSED_WAIT_NS);
}

void poller__close(struct poller *p, void (*cb)(void *data), void *data) {
    p->close_cb = cb;
    p->close_data = data;
    switch (p->doing) {
    case POLL_IDLE: stop_if_asked(p); return;
    case POLL_WAIT: governor__cancel(p->deps.governor, &p->permit); return;
    case POLL_ASK:
        p->deps.gate->cancel(p->deps.gate->ctx, &p->gate);
        give_back(p, "");
        return;
    case POLL_FETCH: /* A refresh token that was shown is spent: the next one is in the answer. */
        if (p->request.login) poller__wait(p, POLLER_LOGIN_PATIENCE_NS);
        else http__cancel(p->deps.http, &p->http);
        return;
    case POLL_KEEP:
        if (!p->appended) { /* Waits for room in the spool: the page will be asked for again. */
            uv_timer_stop(&p->timer);
            stop_if_asked(p);
        }
        return;
    case POLL_SAVE:
        if (uv_is_active((uv_handle_t *)&p->timer))
            give_back(p, ""); /* Synced, and not gone yet. */
        return;
    case POLL_JUDGE:
    case POLL_STOPPED: return;
    }
}

/* Waiting: plan, then a timer for the source's own pace, then a permit. */

static void on_permit(struct permit *permit, int status);
static void depart(struct poller *p);

static enum permit_class class_of(enum source_class class) {
    static const enum permit_class classes[] = {[SOURCE_TAIL] = CLASS_TAIL,
                                                [SOURCE_METADATA] = CLASS_METADATA,
                                                [SOURCE_BACKFILL] = CLASS_BACKFILL,
                                                [SOURCE_INTERACTIVE] = CLASS_INTERACTIVE,
                                                [SOURCE_PROBE] = CLASS_PROBE};
    return classes[class];
}

/* Somebody may open the endpoint at any time, so it is looked at again soon; but asked it is when
 * it opens, and not before. */
static void wait_refused(struct poller *p, const struct endpoint *ep) {
    int64_t until_ns = p->refused ? governor__refused_until_ns(p->deps.governor, ep) : 0;
    poller__wait(p, POLLER_REFUSED_WAIT_NS);
    if (until_ns > p->next_mono_ns) p->next_mono_ns = until_ns;
}

static void ask_permit(struct poller *p) {
    poller__move(p, POLL_WAIT);
    p->permit.data = p;
    p->permit.class = class_of(p->state.poked ? SOURCE_INTERACTIVE : p->request.class);
    p->permit.tier = poller_recent__tier(&p->recent, p->permit.tier);
    /* One address asks once: where somebody else governs it, the HEAD is theirs. */
    p->permit.may_head = p->request.method == NULL && p->deps.gate == NULL;
    p->permit.proven = p->proven;
    struct endpoint *ep = p->deps.endpoint(p->deps.endpoint_ctx, p->request.endpoint);
    int status = ep == NULL ? ERR_NOT_FOUND
                            : governor__acquire(p->deps.governor, ep, &p->permit,
                                                p->request.gap_key, on_permit);
    if (status != 0) {
        p->refused = status == ERR_REFUSED;
        poller__move(p, POLL_IDLE);
        wait_refused(p, ep);
    }
}

static void on_timer(uv_timer_t *timer) {
    struct poller *p = timer->data;
    if (p->doing == POLL_KEEP) poller__append(p);
    else if (p->doing == POLL_FETCH) http__cancel(p->deps.http, &p->http);
    else if (p->doing == POLL_SAVE) depart(p);
    else poller__plan(p);
}

void poller__wait(struct poller *p, int64_t wait_ns) {
    p->revision++;
    p->next_mono_ns = p->deps.clock->mono_ns + wait_ns;
    uv_timer_start(&p->timer, on_timer, (uint64_t)((wait_ns + NS_PER_MS - 1) / NS_PER_MS), 0);
}

/* Which login there is goes into the state, for plan and for judge. */
static int read_refresh_token(struct poller *p, char *out, size_t size, struct err *e) {
    if (p->deps.refresh_token != NULL)
        return p->deps.refresh_token(p->deps.login_ctx, p->state.login, out, size, e);
    return err__setf(e, ERR_REFUSED, "nobody is logged in");
}

/* The token that the request needs goes into its header lines. @return whether the request may go
 * on; else it is planned again later. */
static bool take_bearer(struct poller *p) {
    struct err e = {0};
    char token[POLLER_BEARER_MAX];
    p->bearer[0] = '\0';
    if (p->request.scope == NULL && !p->request.login) return true;
    int code = p->request.login ? read_refresh_token(p, NULL, 0, &e)
               : p->deps.bearer == NULL
                   ? err__setf(&e, ERR_REFUSED, "no OAuth token with scope %s", p->request.scope)
                   : p->deps.bearer(p->deps.bearer_ctx, p->type->name, p->request.scope, token,
                                    sizeof token, &e);
    bool was_quiet = p->quiet;
    p->quiet = code == ERR_REFUSED || code == ERR_AUTH;
    p->tokenless = code == ERR_AUTH;
    if (code == 0) {
        if (!p->request.login)
            snprintf(p->bearer, sizeof p->bearer, POLLER_BEARER_LINE "%s", token);
        if (was_quiet) p->last_error[0] = '\0';
        return true;
    }
    if (p->quiet) snprintf(p->last_error, sizeof p->last_error, "%s", e.msg);
    if (p->quiet && !was_quiet) /* Once: not granted is a normal state. */
        LOG_WARN("sources", "stream stays quiet", LOG_S("source", p->type->name),
                 LOG_S("stream", p->stream->key), LOG_S("reason", e.msg));
    poller__wait(p, p->tokenless ? POLLER_REFUSED_WAIT_NS
                    : p->quiet   ? POLLER_QUIET_WAIT_NS
                                 : POLLER_TOKEN_WAIT_NS);
    if (p->quiet) p->next_mono_ns = INT64_MAX; /* A look for a token is no request. */
    return false;
}

static void apply_bound(struct poller *p) {
    struct source_request *r = &p->request;
    int64_t paced_ns = p->state.last_reply_mono_ns + p->bound.gap_ns;
    r->class = SOURCE_BACKFILL;
    r->done |= p->type->reached(p->state.cursor, p->bound.until);
    if (p->state.last_reply_mono_ns != 0 && paced_ns > r->not_before_mono_ns)
        r->not_before_mono_ns = paced_ns;
}

void poller__plan(struct poller *p) {
    const struct clock *now = p->deps.clock;
    p->revision++;
    if (p->held) {
        p->next_mono_ns = INT64_MAX;
        return;
    }
    struct err nobody = {0};
    p->state.memo = buf__slice(&p->memo);
    poller__set_now(p);
    read_refresh_token(p, NULL, 0, &nobody);
    p->type->plan(p->settings, p->stream, &p->state, &p->request);
    if (p->bound.until != NULL) apply_bound(p);
    int64_t due_ns = p->request.not_before_mono_ns;
    bool rests = p->backoff_until_mono_ns > due_ns;
    /* Somebody who asks for it now may know that what was refused is there. */
    if (rests && !(p->state.poked && p->is_refusal)) due_ns = p->backoff_until_mono_ns;
    p->done = p->request.done;
    p->next_mono_ns = due_ns;
    if (p->done || due_ns == INT64_MAX) return; /* Idle until it is poked or closed. */
    if (due_ns > now->mono_ns) poller__wait(p, due_ns - now->mono_ns);
    else if (take_bearer(p)) ask_permit(p);
}

void poller__replan(struct poller *p) {
    bool started = p->started_wall_ns != 0;
    if (!started || p->doing != POLL_IDLE || p->close_cb != NULL || p->done || p->held) return;
    uv_timer_stop(&p->timer);
    poller__plan(p);
}

void poller__poke(struct poller *p) {
    bool started = p->started_wall_ns != 0;
    if (!started || p->doing != POLL_IDLE || p->close_cb != NULL || p->done || p->held) return;
    p->state.poked = true;
    uv_timer_stop(&p->timer);
    poller__plan(p);
}

struct slice poller__memo(const struct poller *p) {
    return buf__slice(&p->memo);
}

void poller__start(struct poller *p) {
    p->started_wall_ns = p->deps.clock->wall_ns;
    poller__wait(p, 0);
}

/* Fetching. */

static void on_response(struct http_request *r, struct http_response *response) {
    poller__judge_response(r->data, response);
}

/* While the request waited for its turn, its token may have been renewed, or be worth nothing any
 * more: what is sent with that one is answered 401, and twice in a row shuts the endpoint.
 * @return false when there is none now; the permit is given back then. */
static bool refresh_bearer(struct poller *p) {
    struct err e = {0};
    char token[POLLER_BEARER_MAX];
    if (p->bearer[0] == '\0') return true;
    if (p->deps.bearer(p->deps.bearer_ctx, p->type->name, p->request.scope, token, sizeof token,
                       &e) == 0) {
        snprintf(p->bearer, sizeof p->bearer, POLLER_BEARER_LINE "%s", token);
        return true;
    }
    give_back(p, e.msg);
    return false;
}

/* The newest refresh token, as it is by now. @return false when there is none; the permit is given
 * back then. */
static bool put_login_body(struct poller *p) {
    struct err e = {0};
    char token[POLLER_BEARER_MAX];
    if (!p->request.login) return true;
    if (read_refresh_token(p, token, sizeof token, &e) != 0) {
        give_back(p, e.msg);
        return false;
    }
    size_t n =
        (size_t)snprintf(p->login_body, sizeof p->login_body, "%s&refresh_token=", p->request.body);
    source__url_append(p->login_body + n, sizeof p->login_body - n, slice__str(token));
    explicit_bzero(token, sizeof token);
    return true;
}

static void fetch(struct poller *p) {
    size_t n = p->request.n_headers;
    if (!refresh_bearer(p) || !put_login_body(p)) return;
    for (size_t i = 0; i < n; i++) p->header_lines[i] = p->request.headers[i];
    if (p->bearer[0] != '\0') p->header_lines[n++] = p->bearer;
    p->http = (struct http_request){
        .data = p,
        .method = p->permit.head              ? "HEAD"
                  : p->request.method == NULL ? "GET"
                                              : p->request.method,
        .url = p->request.url,
        .headers = p->header_lines,
        .n_headers = n,
        .body = slice__str(p->request.login ? p->login_body : p->request.body),
        .body_max = p->deps.body_max,
        .source = p->type->name,
        .class_name = permit_class__name(p->permit.class),
        .done_cb = on_response};
    p->requested = *p->deps.clock;
    struct err e = {0};
    if (http__start(p->deps.http, &p->http, &e) == 0) {
        poller__move(p, POLL_FETCH);
        return;
    }
    LOG_ERROR("sources", "cannot send request", LOG_S("stream", p->stream->key), LOG_E(&e));
    give_back(p, e.msg);
}

/* One sync can end the waiting of many, and they were granted one after another. */
static void depart(struct poller *p) {
    int64_t wait_ns = p->close_cb != NULL ? 0 : governor__depart(p->deps.governor, &p->permit);
    if (p->close_cb != NULL) give_back(p, "");
    else if (wait_ns > 0) poller__wait(p, wait_ns);
    else fetch(p);
}

static void on_limits_synced(void *data, uint64_t lsn, int status) {
    struct poller *p = data;
    (void)lsn;
    if (status != 0) give_back(p, "spool: limits cannot be saved");
    else depart(p);
}

static void save_limits(struct poller *p) {
    struct buf state = buf__init(SPOOL_RECORD_MAX);
    struct err e = {0};
    governor__save(p->deps.governor, &state);
    struct slice part = buf__slice(&state);
    poller__move(p, POLL_SAVE);
    if (spool__append(p->deps.spool, SPOOL_LIMITS, 0, &part, 1, on_limits_synced, p, &e) == 0)
        give_back(p, e.msg);
    buf__fini(&state);
}

/* Others may use the same address: whoever governs them all has a say. */
static void on_gate(struct gate_ask *a, int64_t wait_ns) {
    struct poller *p = a->data;
    if (wait_ns <= 0) {
        save_limits(p);
        return;
    }
    governor__undo(p->deps.governor, &p->permit); /* Nobody here need wait for our turn there. */
    poller__move(p, POLL_IDLE);
    if (!settle(p)) poller__wait(p, wait_ns);
}

static void ask_gate(struct poller *p) {
    poller__move(p, POLL_ASK);
    p->gate = (struct gate_ask){
        .data = p, .endpoint = p->request.endpoint, .class = p->permit.class, .cb = on_gate};
    p->deps.gate->ask(p->deps.gate->ctx, &p->gate);
}

static void on_permit(struct permit *permit, int status) {
    struct poller *p = permit->data;
    if (p->close_cb != NULL) {
        if (status == 0) governor__undo(p->deps.governor, permit);
        stop_if_asked(p);
        return;
    }
    p->refused = status == ERR_REFUSED;
    if (status == 0) {
        if (p->deps.gate == NULL) save_limits(p);
        else ask_gate(p);
        return;
    }
    poller__move(p, POLL_IDLE);
    if (!settle(p)) wait_refused(p, permit->endpoint);
}

/* Keeping: one record, then its sync, then the cursor moves. */

static void on_synced(void *data, uint64_t lsn, int status) {
    struct poller *p = data;
    (void)lsn;
    p->appended = false;
    if (p->steer.kept) {
        poller__end_steer(p, status);
    } else if (status == 0) {
        poller__apply(p);
    } else {
        snprintf(p->last_error, sizeof p->last_error, "spool: %s", err__text(status));
    }
    poller__move(p, POLL_IDLE);
    if (settle(p)) return;
    if (status == 0) poller__plan(p);
    else poller__wait(p, POLLER_REFUSED_WAIT_NS);
}

void poller__append(struct poller *p) {
    struct slice parts[] = {buf__slice(&p->meta),
                            p->is_page ? buf__slice(&p->packed) : (struct slice){0}};
    struct err e = {0};
    p->revision++;
    p->appended = true;
    uint64_t lsn = spool__append(p->deps.spool, p->is_page ? SPOOL_PAGE : SPOOL_REQUEST, 0, parts,
                                 2, on_synced, p, &e);
    bool was_full = p->spool_full;
    p->spool_full = lsn == 0;
    if (lsn != 0) return;
    p->appended = false;
    snprintf(p->last_error, sizeof p->last_error, "%s", e.msg);
    if (!was_full) /* Once, not each second: a full spool can last for hours. */
        LOG_WARN("sources", "page waits for the spool", LOG_S("stream", p->stream->key), LOG_E(&e));
    /* With the spool's own wait, below a second from room on the disk to the next page. */
    if (!stop_if_asked(p)) poller__wait(p, NS_PER_S / 2);
}

void poller__keep(struct poller *p, const struct request_facts *facts, bool is_page) {
    buf__clear(&p->meta);
    journal__encode(facts, &p->meta);
    p->is_page = is_page;
    poller__move(p, POLL_KEEP);
    poller__append(p);
}

uint64_t poller__revision(const struct poller *p) { return p->revision; }

void poller__status(const struct poller *p, struct poller_status *out) {
    *out = (struct poller_status){.source = p->type->name,
                                  .stream = p->stream,
                                  .state = &p->state,
                                  .endpoint = p->request.endpoint[0] != '\0' ? p->request.endpoint
                                                                             : p->stream->endpoint,
                                  .scope = p->request.scope,
                                  .doing = p->doing,
                                  .counts = p->counts,
                                  .body_bytes = p->body_bytes,
                                  .entries = p->entries,
                                  .started_wall_ns = p->started_wall_ns,
                                  .last_success_wall_ns = p->last_success_wall_ns,
                                  .last_success_mono_ns = p->last_success_mono_ns,
                                  .last_new_wall_ns = p->last_new_wall_ns,
                                  .last_advance_wall_ns = p->last_advance_wall_ns,
                                  .next_mono_ns = p->next_mono_ns,
                                  .last_cursor = p->last_cursor,
                                  .frozen = p->frozen,
                                  .held = p->held,
                                  .seeding = p->request.seed,
                                  .spool_full = p->spool_full,
                                  .refused = p->refused,
                                  .quiet = p->quiet,
                                  .tokenless = p->tokenless,
                                  .n_refusals = p->n_refusals,
                                  .refused_http = p->refused_http,
                                  .n_oversized = p->n_oversized,
                                  .done = p->done,
                                  .too_old = p->too_old,
                                  .throttled_wall_ns = p->throttled_wall_ns};
    if (p->held) snprintf(out->last_error, sizeof out->last_error, "frozen: %s", p->held_reason);
    else snprintf(out->last_error, sizeof out->last_error, "%s", p->last_error);
}
