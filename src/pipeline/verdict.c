/* What an answer means: tells the governor, has the source judge the body on the thread pool, and
 * turns the verdict into the facts of a record. */
#include "poller_internal.h"
#include <stdio.h>

void poller__init_metrics(struct poller *p) {
    struct metrics *m = p->deps.metrics;
    const char *name = p->type->name;
#define PAGES(result)                                                                              \
    metrics__counter(m, "souk_source_pages_total", "Answers of a source by what they brought.",    \
                     "source=\"%s\",result=\"" result "\"", name)
    p->m.fresh = PAGES("new");
    p->m.empty = PAGES("empty");
    p->m.unchanged = PAGES("unchanged");
    p->m.repeat = PAGES("repeat");
    p->m.rewind = PAGES("rewind");
    p->m.invalid = PAGES("invalid");
    p->m.error = PAGES("error");
    p->m.stale = PAGES("stale");
    p->m.unavailable = PAGES("unavailable");
#undef PAGES
    p->m.regressions = metrics__counter(m, "souk_cursor_regressions_total",
                                        "Answers whose cursor went back; they are refused.",
                                        "source=\"%s\"", name);
#define WHEN(family, help)                                                                         \
    metrics__gauge(m, "souk_source_last_" family "_timestamp_seconds", help, "source=\"%s\"", name)
    p->m.last_success = WHEN("success", "When a request last succeeded.");
    p->m.last_new = WHEN("new_data", "When an answer last brought new data.");
    p->m.last_advance = WHEN("cursor_advance", "When the cursor last moved.");
#undef WHEN
}

static bool is_block_page(const struct http_response *r) {
    if (http__header(r, "cf-mitigated").len > 0) return true;
    struct slice type = http__header(r, "content-type");
    return r->status == 403 && slice__starts(type, SLICE_LIT("text/html"));
}

/* Whether a status is about what was asked for alone: one league, tab, hour or page that is not
 * there, or is asked for wrongly. Tokens, rights, methods, rates and trouble of the moment are the
 * endpoint's. */
bool poller__is_about_subject(int status) {
    static const int others[] = {401, 402, 403, 405, 407, 408, 418, 421, 425, 426, 429, 431, 451};
    if (status < 400 || status > 499) return false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (status == others[i]) return false;
    return true;
}

/* The server's clock is evidence about ours. A Date is cut to the second, and was written at some
 * time before the first byte came. */
static void tell_wall(struct poller *p, const struct http_response *r) {
    const char *host = strstr(p->request.url, "://");
    int64_t date_ns = p->limits.date_wall_ns;
    bool known = p->deps.wall != NULL && host != NULL && date_ns != 0 && r->status != 0;
    bool slow = r->first_byte_mono_ns - r->sent_mono_ns > WALL_SLOW_NS;
    if (!known || slow || r->first_byte_mono_ns == 0) return;
    char name[sizeof(struct wall_witness){0}.name];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(host + 3, "/?"), host + 3);
    if (date_ns > INT64_MAX - NS_PER_S) return;
    wall__told(p->deps.wall, name, date_ns + NS_PER_S / 2, r->first_byte_mono_ns, false);
}

void poller__set_now(struct poller *p) {
    p->state.now = *p->deps.clock;
    p->state.cautious_wall_ns = p->deps.wall == NULL ? 0 : wall__cautious(p->deps.wall);
}

static void tell_governor(struct poller *p, const struct http_response *r) {
    struct governor_header headers[HTTP_HEADERS_MAX];
    size_t n = r->n_headers < HTTP_HEADERS_MAX ? r->n_headers : HTTP_HEADERS_MAX;
    for (size_t i = 0; i < n; i++)
        headers[i] =
            (struct governor_header){.name = r->headers[i].name, .value = r->headers[i].value};
    bool block = is_block_page(r);
    /* What the source expects is no mistake of ours, and does not spend the budget of those. */
    bool refused = r->status >= 400 && r->status < 500 && r->status != 429 && !block;
    bool expected = (r->status != 0 && r->status == p->request.expect_status) ||
                    (refused && p->request.expect_4xx);
    struct governor_reply reply = {.status = expected ? 200 : r->status,
                                   .dispatched = r->dispatched,
                                   .headers = headers,
                                   .n_headers = n,
                                   .done_mono_ns = p->deps.clock->mono_ns,
                                   .subject = poller__is_about_subject(r->status) && !block,
                                   .block_page = block};
    p->is_refusal = reply.subject && !expected;
    if (p->is_refusal) p->proven = false; /* Silence and trouble say nothing of it. */
    else if (reply.status >= 200 && reply.status < 400 && !block) p->proven = true;
    governor__report(p->deps.governor, &p->permit, &reply, &p->limits);
    if (p->gate.permit != 0) p->deps.gate->end(p->deps.gate->ctx, &p->gate, &reply);
    p->gate.permit = 0;
    if (p->limits.throttled) p->throttled_wall_ns = p->deps.clock->wall_ns;
    tell_wall(p, r);
}

static uint64_t us_between(int64_t from_ns, int64_t to_ns) {
    return to_ns > from_ns && from_ns > 0 ? (uint64_t)((to_ns - from_ns) / NS_PER_US) : 0;
}

/* What was asked: the stream's path, or the other one that its first cursor comes from. */
static struct slice asked_path(const struct poller *p) {
    const char *host = p->request.seed ? strstr(p->request.url, "://") : NULL;
    const char *path = host == NULL ? NULL : strchr(host + 3, '/');
    return path == NULL ? slice__str(p->stream->path) : slice__of(path, strcspn(path, "?"));
}

/* By what the clock says now: the answer may have shown that it was wrong. */
static int64_t requested_wall_ns(const struct poller *p) {
    const struct clock *now = p->deps.clock;
    return now->wall_ns - (now->mono_ns - p->requested.mono_ns);
}

/* What is known of the request before the body is judged. */
static void begin_facts(struct poller *p, const struct http_response *r) {
    const struct stream_spec *s = p->stream;
    p->attempts++;
    p->counts.requests++;
    p->next_cursor[0] = '\0';
    p->error[0] = '\0';
    snprintf(p->next_etag, sizeof p->next_etag, "%s", p->state.etag);
    p->facts = (struct request_facts){
        .source = slice__str(p->type->name),
        .stream = slice__str(s->key),
        .service = slice__str(p->request.seed ? p->request.endpoint : s->service),
        .realm = slice__str(s->realm),
        .league = slice__str(s->league),
        .kind = slice__str(s->kind),
        .path = asked_path(p),
        .method = slice__str(p->http.method),
        .cursor_from = slice__str(p->state.cursor),
        .cursor_to = slice__str(p->state.cursor),
        .etag = slice__str(p->next_etag),
        .http_status = (uint16_t)r->status,
        .attempts = p->attempts,
        .retry_reason = slice__str(p->retry_reason),
        .requested_wall_ns = requested_wall_ns(p),
        .received_wall_ns = p->deps.clock->wall_ns,
        .response_us = us_between(r->sent_mono_ns, r->done_mono_ns),
        .first_byte_us = us_between(r->sent_mono_ns, r->first_byte_mono_ns),
        .wire_bytes = r->wire_bytes,
        .body_bytes = r->body.len,
        .policy = slice__str(p->limits.policy),
        .limits_raw = slice__str(p->limits.raw),
        .limits_state = slice__str(p->limits.state),
        .retry_after_s = p->limits.retry_after_ns < 0 ? -1 : p->limits.retry_after_ns / NS_PER_S};
    p->state.last_reply_mono_ns = p->deps.clock->mono_ns;
    poller__set_now(p);
    p->state.poked = false;
    p->state.unavailable = false;
    /* Its body, when the headers are in: those have a bound that nobody raises. */
    p->job.oversized = r->err.code == ERR_LIMIT && r->n_headers > 0;
}

static int64_t doubled_ns(int64_t first_ns, uint32_t n, int64_t most_ns) {
    int64_t ns = first_ns;
    for (uint32_t i = 1; i < n && ns < most_ns; i++) ns *= 2;
    return ns < most_ns ? ns : most_ns;
}

/* The answer refused what this stream asks for: it rests, and nobody else. */
static void rest(struct poller *p) {
    if (p->n_refusals < UINT32_MAX) p->n_refusals++;
    p->refused_http = p->facts.http_status;
    p->backoff_until_mono_ns =
        p->deps.clock->mono_ns + doubled_ns(POLLER_REST_NS, p->n_refusals, POLLER_REST_MAX_NS);
}

static int64_t backoff_ns(const struct poller *p) {
    return doubled_ns(NS_PER_S / 2, p->state.n_failures,
                      p->facts.http_status == 0 ? POLLER_UNREACHED_MAX_NS : POLLER_BACKOFF_MAX_NS);
}

/* The page there will not be smaller next time: it is asked for at a slow pace, and said what
 * somebody can do. */
static void rest_oversized(struct poller *p) {
    if (p->n_oversized < UINT32_MAX) p->n_oversized++;
    p->backoff_until_mono_ns =
        p->deps.clock->mono_ns + doubled_ns(POLLER_REST_NS, p->n_oversized, POLLER_REST_MAX_NS);
}

/* The request or its answer was no good: the cursor stays. Sources that repeat show their last
 * values as stale, at most once a period. */
static void keep_failure(struct poller *p, const char *status, const char *reason) {
    const struct clock *now = p->deps.clock;
    p->state.n_failures++;
    p->backoff_until_mono_ns = now->mono_ns + backoff_ns(p);
    /* In a row: any other answer ends it, and no answer says nothing. */
    if (p->is_refusal) rest(p);
    else if (p->facts.http_status != 0) p->n_refusals = 0;
    if (p->job.oversized) rest_oversized(p);
    else if (p->facts.http_status != 0) p->n_oversized = 0;
    snprintf(p->retry_reason, sizeof p->retry_reason, "%s", reason);
    p->facts.status = slice__str(status);
    p->facts.error = slice__str(p->error);
    p->facts.cursor_to = p->facts.cursor_from;
    /* A request that our own end cut off says nothing of the upstream. */
    bool repeat = p->type->repeats && p->close_cb == NULL && p->last_packed.len > 0 &&
                  now->mono_ns - p->last_rows_mono_ns >= p->settings->period_ns;
    if (repeat) {
        p->facts.flags |= REQUEST_CHECKPOINT;
        p->facts.freshness = PAGE_STALE;
        p->facts.n_entries = p->last_entries;
        p->facts.body_bytes = p->last_body_bytes;
        buf__clear(&p->packed);
        buf__append_slice(&p->packed, buf__slice(&p->last_packed));
        p->last_rows_mono_ns = now->mono_ns;
        p->counts.stale++;
        series__inc(p->m.stale);
    }
    LOG_WARN("sources", "request failed", LOG_S("stream", p->stream->key), LOG_S("reason", reason),
             LOG_I("http", p->facts.http_status), LOG_S("err", p->error));
    poller__keep(p, &p->facts, repeat);
}

static void keep_success(struct poller *p, const char *status, bool is_page) {
    if (!p->request.seed)
        poller_recent__add(&p->recent, is_page && p->facts.flags & REQUEST_ADVANCES);
    p->state.n_failures = p->n_refusals = p->n_oversized = 0;
    p->backoff_until_mono_ns = 0;
    p->facts.status = slice__str(status);
    /* Also when nothing was new: how old the newest row is says how fresh the cursor is. */
    if (!p->request.seed) p->facts.flags |= REQUEST_CHECKPOINT;
    poller__keep(p, &p->facts, is_page);
}

static void keep_page(struct poller *p, const struct page_facts *page) {
    snprintf(p->next_cursor, sizeof p->next_cursor, "%s", page->next_cursor);
    snprintf(p->next_etag, sizeof p->next_etag, "%s", page->etag);
    p->facts.flags |= REQUEST_ADVANCES;
    p->facts.cursor_to = slice__str(p->next_cursor);
    p->facts.etag = slice__str(p->next_etag);
    p->facts.n_entries = page->n_entries;
    p->facts.freshness = PAGE_FRESH;
    if (p->type->repeats) {
        buf__clear(&p->last_packed);
        buf__append_slice(&p->last_packed, buf__slice(&p->packed));
        p->last_entries = page->n_entries;
        p->last_body_bytes = p->facts.body_bytes;
        p->last_rows_mono_ns = p->deps.clock->mono_ns;
    }
    keep_success(p, "ok", true);
}

static void keep_unchanged(struct poller *p) {
    bool is_page = p->type->repeats && p->last_packed.len > 0;
    if (is_page) {
        p->facts.freshness = PAGE_REVALIDATED;
        p->facts.n_entries = p->last_entries;
        p->facts.body_bytes = p->last_body_bytes;
        buf__clear(&p->packed);
        buf__append_slice(&p->packed, buf__slice(&p->last_packed));
        p->last_rows_mono_ns = p->deps.clock->mono_ns;
    } else if (p->type->repeats) {
        p->next_etag[0] = '\0'; /* Nothing to repeat, as after a restart: ask for the whole body. */
        p->facts.etag = slice__str(p->next_etag);
        p->facts.flags |= REQUEST_ADVANCES;
    }
    p->state.caught_up = true;
    p->counts.unchanged++;
    series__inc(p->m.unchanged);
    keep_success(p, "unchanged", is_page);
}

static void keep_seed(struct poller *p, const struct page_facts *page) {
    snprintf(p->next_cursor, sizeof p->next_cursor, "%s", page->next_cursor);
    p->facts.cursor_to = slice__str(p->next_cursor);
    p->facts.flags |= REQUEST_SEED;
    LOG_INFO("sources", "starts at", LOG_S("stream", p->stream->key),
             LOG_S("cursor", p->next_cursor));
    keep_success(p, "seeded", false);
}

static void keep_unavailable(struct poller *p) {
    p->counts.unavailable++;
    series__inc(p->m.unavailable);
    p->state.unavailable = true;
    p->state.n_failures = p->n_refusals = p->n_oversized = 0; /* plan says when to look again. */
    p->backoff_until_mono_ns = 0;
    snprintf(p->error, sizeof p->error, "%s", p->job.err.msg);
    p->facts.status = SLICE_LIT("unavailable");
    p->facts.error = slice__str(p->error);
    LOG_WARN("sources", "upstream does not give this", LOG_S("source", p->type->name),
             LOG_S("stream", p->stream->key), LOG_I("http", p->facts.http_status),
             LOG_S("reason", p->error));
    poller__keep(p, &p->facts, false);
}

static void refuse(struct poller *p, const char *status, const struct err *e, bool frozen) {
    p->frozen = frozen;
    snprintf(p->error, sizeof p->error, "%s", e->msg);
    keep_failure(p, status, status);
}

/* judge had its say about an answer that is no 200, and it is a failure as it would be without. */
static void refuse_status(struct poller *p, int status, const struct err *e) {
    char reason[16] = "reset";
    if (status != 0) snprintf(reason, sizeof reason, "http_%d", status);
    snprintf(p->error, sizeof p->error, "%s", e->msg);
    p->counts.errors++;
    series__inc(p->m.error);
    keep_failure(p, "error", reason);
}

static void keep_verdict(struct poller *p) {
    struct judge_job *job = &p->job;
    switch (job->page.verdict) {
    case PAGE_NEW:
        p->counts.fresh++;
        series__inc(p->m.fresh);
        p->state.caught_up = false;
        p->frozen = false;
        keep_page(p, &job->page);
        return;
    case PAGE_EMPTY:
        p->counts.empty++;
        series__inc(p->m.empty);
        p->state.caught_up = true;
        p->frozen = false;
        keep_success(p, "empty", false);
        return;
    case PAGE_UNCHANGED: keep_unchanged(p); return;
    case PAGE_SEEDED: keep_seed(p, &job->page); return;
    case PAGE_UNAVAILABLE: keep_unavailable(p); return;
    case PAGE_REPEAT:
        p->counts.repeat++;
        series__inc(p->m.repeat);
        refuse(p, "repeat", &job->err, true);
        return;
    case PAGE_REWIND:
        p->counts.rewind++;
        series__inc(p->m.rewind);
        series__inc(p->m.regressions);
        refuse(p, "rewind", &job->err, true);
        return;
    case PAGE_INVALID:
        if (job->answer.status != 200) {
            refuse_status(p, job->answer.status, &job->err);
            return;
        }
        p->counts.invalid++;
        series__inc(p->m.invalid);
        refuse(p, "invalid", &job->err, false);
        return;
    }
}

static void on_judge(uv_work_t *work) {
    struct judge_job *job = work->data;
    struct poller *p = job->poller;
    job->page = (struct page_facts){.verdict = PAGE_INVALID};
    job->status = p->type->judge(p->stream, &p->state, &job->answer, &job->page, &job->err);
    if (job->page.secret.len > 0 && p->deps.keep_secret != NULL)
        p->deps.keep_secret(p->deps.login_ctx, p->state.login, buf__slice(&job->page.secret));
    buf__fini(&job->page.secret);
    enum page_verdict v = job->page.verdict;
    if (job->status != 0 && v != PAGE_REWIND && v != PAGE_REPEAT && v != PAGE_UNAVAILABLE)
        job->page.verdict = PAGE_INVALID;
    /* Half a memo would be believed; and without what is kept instead, the body would be kept. */
    if (job->page.keep.failed || job->page.memo.failed) {
        job->page.verdict = PAGE_INVALID;
        buf__fini(&job->page.memo);
        err__setf(&job->err, ERR_NOMEM, "%s: no memory for what is kept of a page", p->stream->key);
    }
    if (job->page.verdict != PAGE_NEW) return;
    bool other = job->page.keep.len > 0;
    buf__clear(&p->packed);
    int code =
        journal__compress(other ? buf__slice(&job->page.keep) : job->answer.body, &p->packed);
    if (code == 0 && p->packed.len <= POLLER_PACKED_MAX) return;
    job->page.verdict = PAGE_INVALID;
    job->oversized = code == 0;
    if (code == 0)
        err__setf(&job->err, ERR_LIMIT,
                  "%s: a page of %zu bytes, compressed, is more than a record holds (%zu)",
                  p->stream->key, p->packed.len, POLLER_PACKED_MAX);
    else err__setf(&job->err, ERR_NOMEM, "%s: no memory to compress a page", p->stream->key);
}

static void on_judged(uv_work_t *work, int status) {
    struct judge_job *job = work->data;
    struct poller *p = job->poller;
    if (status != 0) err__setf(&job->err, ERR_CANCELED, "canceled");
    if (job->page.memo.len > 0) {
        buf__fini(&p->memo);
        p->memo = job->page.memo;
        p->state.memo = buf__slice(&p->memo); /* Its status may be asked for before plan is. */
        job->page.memo = (struct buf){0};
    }
    p->too_old = job->page.too_old;
    keep_verdict(p);
    buf__fini(&job->body);
    buf__fini(&job->page.memo);
    buf__fini(&job->page.keep);
}

/* The response ends with its callback: the job gets copies of the headers and the body itself. */
static void start_judge(struct poller *p, struct http_response *r) {
    struct judge_job *job = &p->job;
    size_t n = r->n_headers < HTTP_HEADERS_MAX ? r->n_headers : HTTP_HEADERS_MAX, total = 0;
    for (size_t i = 0; i < n; i++) total += r->headers[i].name.len + r->headers[i].value.len;
    buf__clear(&job->headers_text);
    if (buf__reserve(&job->headers_text, total + 1) == NULL) n = 0;
    for (size_t i = 0; i < n; i++) {
        char *at = job->headers_text.base + job->headers_text.len;
        buf__append_slice(&job->headers_text, r->headers[i].name);
        buf__append_slice(&job->headers_text, r->headers[i].value);
        job->headers[i].name = slice__of(at, r->headers[i].name.len);
        job->headers[i].value = slice__of(at + r->headers[i].name.len, r->headers[i].value.len);
    }
    job->body = r->body;
    r->body = (struct buf){0};
    job->err = (struct err){0};
    job->answer = (struct source_answer){.seed = p->request.seed,
                                         .status = r->status,
                                         .headers = job->headers,
                                         .n_headers = n,
                                         .body = buf__slice(&job->body)};
    job->work.data = job;
    poller__move(p, POLL_JUDGE);
    uv_queue_work(p->deps.loop, &job->work, on_judge, on_judged);
}

/* The governor wanted to know the state before the first request; the source has learned nothing.
 */
static void keep_head(struct poller *p, const struct http_response *r) {
    bool failed = r->err.code != 0 || r->status >= 400;
    if (failed && r->err.code == 0)
        snprintf(p->error, sizeof p->error, "HEAD %s answered %d", p->stream->path, r->status);
    else snprintf(p->error, sizeof p->error, "%s", failed ? r->err.msg : p->limits.error);
    p->attempts--;
    p->facts.status = failed ? SLICE_LIT("error") : SLICE_LIT("head");
    p->facts.error = slice__str(p->error);
    if (failed) {
        p->counts.errors++;
        series__inc(p->m.error);
        snprintf(p->last_error, sizeof p->last_error, "%s", p->error);
    }
    if (p->error[0] != '\0')
        LOG_WARN("sources", "HEAD told nothing", LOG_S("stream", p->stream->key),
                 LOG_I("http", r->status), LOG_S("err", p->error));
    poller__keep(p, &p->facts, false);
}

void poller__judge_response(struct poller *p, struct http_response *r) {
    bool poked = p->state.poked;
    uv_timer_stop(&p->timer); /* Of a close that waits for this. */
    if (p->request.login) explicit_bzero(p->login_body, sizeof p->login_body); /* It is spent. */
    tell_governor(p, r);
    begin_facts(p, r);
    if (r->status == 401 && p->bearer[0] != '\0' && p->deps.bearer_refused != NULL)
        p->deps.bearer_refused(p->deps.bearer_ctx, p->type->name, p->request.scope,
                               p->bearer + sizeof POLLER_BEARER_LINE - 1);
    if (p->permit.head) {
        p->state.poked = poked;
        keep_head(p, r);
        return;
    }
    bool judged = p->type->judges_errors && r->status != 304;
    bool hung_up = r->err.code != 0 && r->status == 0 && strcmp(r->err_kind, "reset") == 0;
    if (judged && (r->err.code == 0 || hung_up)) {
        start_judge(p, r);
    } else if (r->err.code != 0) {
        snprintf(p->error, sizeof p->error, "%s", r->err.msg);
        p->counts.errors++;
        series__inc(p->m.error);
        keep_failure(p, "error", r->err_kind[0] == '\0' ? "transport" : r->err_kind);
    } else if (r->status == 200) {
        start_judge(p, r);
    } else if (r->status == 304) {
        keep_unchanged(p);
    } else {
        char reason[16];
        snprintf(reason, sizeof reason, "http_%d", r->status);
        snprintf(p->error, sizeof p->error, "%s answered %d", p->stream->path, r->status);
        p->counts.errors++;
        series__inc(p->m.error);
        keep_failure(p, "error", reason);
    }
}

void poller__apply(struct poller *p) {
    int64_t wall_ns = p->facts.received_wall_ns;
    double wall_s = (double)wall_ns / (double)NS_PER_S;
    if (p->permit.head) return;
    if (p->state.n_failures > 0 || p->state.unavailable) {
        if (p->state.unavailable) p->attempts = 0;
        snprintf(p->last_error, sizeof p->last_error, "%s", p->error);
        return;
    }
    p->last_error[0] = '\0';
    p->attempts = 0;
    p->retry_reason[0] = '\0';
    p->last_success_wall_ns = wall_ns;
    p->last_success_mono_ns = p->deps.clock->mono_ns;
    /* A backfill says nothing of how fresh its source is. */
    bool tells = p->bound.until == NULL;
    if (tells) series__set(p->m.last_success, wall_s);
    if (p->facts.flags & REQUEST_SEED)
        snprintf(p->state.cursor, sizeof p->state.cursor, "%s", p->next_cursor);
    if (!(p->facts.flags & REQUEST_ADVANCES)) return;
    snprintf(p->state.etag, sizeof p->state.etag, "%s", p->next_etag);
    if (p->next_cursor[0] == '\0') return;
    snprintf(p->last_cursor, sizeof p->last_cursor, "%s", p->state.cursor);
    snprintf(p->state.cursor, sizeof p->state.cursor, "%s", p->next_cursor);
    p->last_new_wall_ns = p->last_advance_wall_ns = wall_ns;
    p->body_bytes += p->facts.body_bytes;
    p->entries += p->facts.n_entries;
    if (!tells) return;
    series__set(p->m.last_new, wall_s);
    series__set(p->m.last_advance, wall_s);
}
