/* See throttler_client.h. What can fail: the throttler is away (halved limits), it says no (the
 * poller asks again when it says), a report is lost (the throttler ends the permit by time). */
#include "throttler_client.h"
#include "souk/core/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define THROTTLER_URL_MAX 512
#define THROTTLER_KEY_MAX 512
#define TIMEOUT_NS (2 * NS_PER_S)
#define WAIT_MS                                                                                    \
    "500" /* It queues there for a second at most, as far below the time-out as can be. */
#define WAIT_LEAST_NS (50 * NS_PER_MS)
#define WAIT_MOST_NS (60 * NS_PER_S)
#define SETTLE_MOST_S 60
#define BUCKET_S 6 /* The first counting bucket, and a second. */
#define BODY_MAX ((size_t)64 << 10)
#define REPORTS_MAX 64 /* Under way; more are dropped, and end by time over there. */
#define HEADERS_MAX 16
#define HEADER_LINE_MAX 320
#define ENDPOINTS_MAX 64 /* With a pace of their own while it is away; others share the last. */

enum result { GRANTED, WAITS, NOT_SHARED, AWAY, RESULT__N };
static const char *const result_names[RESULT__N] = {"granted", "waits", "not_shared", "away"};

struct throttler {
    struct throttler_options o;
    char url[THROTTLER_URL_MAX], authorization[THROTTLER_KEY_MAX + 32];
    struct gate gate;
    bool answered, away;
    int64_t since_wall_ns; /* Of the last change. */
    int64_t alone_mono_ns; /* Since when nobody speaks for the others. */
    char reason[160];
    struct {
        char name[64];
        int64_t next_ns;
    } paces[ENDPOINTS_MAX];
    size_t n_paces;
    size_t n_reports;
    uint64_t counts[RESULT__N], n_lost;
    struct series *s_results[RESULT__N], *s_away, *s_lost;
};

/* One call. It frees itself when it has ended. */
struct call {
    struct http_request request;
    struct throttler *t;
    struct gate_ask *ask; /* NULL: of a report, or nobody waits any more. */
    bool is_report;
    char url[THROTTLER_URL_MAX + 256];
    char lines[HEADERS_MAX + 1][HEADER_LINE_MAX];
    const char *headers[HEADERS_MAX + 1];
};

static void count(struct throttler *t, enum result r) {
    t->counts[r]++;
    series__inc(t->s_results[r]);
}

static void be_away(struct throttler *t, const char *why) {
    snprintf(t->reason, sizeof t->reason, "%s", why);
    if (t->away) return;
    t->away = true;
    t->since_wall_ns = t->o.clock->wall_ns;
    t->alone_mono_ns = t->o.clock->mono_ns;
    series__set(t->s_away, 1);
    LOG_WARN("cli", "throttler is away; own limits are halved", LOG_S("url", t->url),
             LOG_S("reason", why));
}

static void be_back(struct throttler *t) {
    if (t->away) LOG_INFO("cli", "throttler is back", LOG_S("url", t->url));
    if (t->away || !t->answered) t->since_wall_ns = t->o.clock->wall_ns;
    t->away = false;
    t->answered = true;
    t->reason[0] = '\0';
    series__set(t->s_away, 0);
}

/* The pace of an endpoint while nobody speaks for the others. */

/* @gap_ns becomes the least time between two requests, @settle_ns how long to be silent at first.
 */
static void paces_of(const struct throttler *t, const char *endpoint, int64_t *gap_ns,
                     int64_t *settle_ns) {
    struct endpoint_status st;
    uint32_t shortest_s = UINT32_MAX;
    *gap_ns = *settle_ns = 2 * NS_PER_S;
    for (size_t i = 0; i < governor__n_endpoints(t->o.governor); i++) {
        governor__status(t->o.governor, i, &st);
        if (strcmp(st.name, endpoint) != 0 || !(st.rate_per_s > 0)) continue;
        *gap_ns = *settle_ns = (int64_t)(2 * (double)NS_PER_S / st.rate_per_s);
        for (uint32_t k = 0; k < st.n_windows; k++)
            if (st.windows[k].period_s < shortest_s) shortest_s = st.windows[k].period_s;
        if (shortest_s > SETTLE_MOST_S) shortest_s = SETTLE_MOST_S;
        int64_t window_ns = st.n_windows > 0 ? (shortest_s + BUCKET_S) * NS_PER_S : 0;
        if (window_ns > *settle_ns) *settle_ns = window_ns;
        return;
    }
}

static int64_t *next_of(struct throttler *t, const char *endpoint) {
    for (size_t i = 0; i < t->n_paces; i++)
        if (strcmp(t->paces[i].name, endpoint) == 0) return &t->paces[i].next_ns;
    size_t i = t->n_paces < ENDPOINTS_MAX ? t->n_paces++ : ENDPOINTS_MAX - 1;
    snprintf(t->paces[i].name, sizeof t->paces[i].name, "%s", endpoint);
    return &t->paces[i].next_ns;
}

/* @return how long the endpoint's own pace makes it wait while nobody speaks for the others. */
static int64_t own_wait_ns(struct throttler *t, const char *endpoint, int64_t *gap_ns) {
    int64_t now_ns = t->o.clock->mono_ns, *next_ns = next_of(t, endpoint), settle_ns;
    paces_of(t, endpoint, gap_ns, &settle_ns);
    if (*next_ns < t->alone_mono_ns + settle_ns) *next_ns = t->alone_mono_ns + settle_ns;
    return *next_ns > now_ns ? *next_ns - now_ns : 0;
}

static void go_alone(struct throttler *t, struct gate_ask *a) {
    int64_t gap_ns, wait_ns = own_wait_ns(t, a->endpoint, &gap_ns);
    a->owner = NULL;
    if (wait_ns == 0) {
        *next_of(t, a->endpoint) = t->o.clock->mono_ns + gap_ns;
        count(t, AWAY);
    }
    a->cb(a, wait_ns);
}

/* Calls. */

static void on_ended(struct http_request *r, struct http_response *response);

static struct call *new_call(struct throttler *t, const char *method) {
    struct call *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->t = t;
    c->request = (struct http_request){.data = c,
                                       .method = method,
                                       .url = c->url,
                                       .headers = c->headers,
                                       .timeout_ns = TIMEOUT_NS,
                                       .connect_timeout_ns = TIMEOUT_NS,
                                       .body_max = BODY_MAX,
                                       .source = "throttler",
                                       .class_name = "permit",
                                       .done_cb = on_ended};
    if (t->authorization[0] != '\0') c->headers[c->request.n_headers++] = t->authorization;
    return c;
}

static void add_line(struct call *c, struct slice name, struct slice value) {
    if (c->request.n_headers >= HEADERS_MAX || name.len + value.len + 3 > HEADER_LINE_MAX) return;
    char *line = c->lines[c->request.n_headers];
    snprintf(line, HEADER_LINE_MAX, "%.*s: %.*s", SLICE_FMT(name), SLICE_FMT(value));
    c->headers[c->request.n_headers++] = line;
}

/* What the throttler learns from: it judges the values itself. */
static void add_limits(struct call *c, const struct governor_reply *reply) {
    for (size_t i = 0; i < reply->n_headers; i++) {
        struct slice name = slice__trim(reply->headers[i].name);
        bool rate =
            name.len > 13 && slice__ieq(slice__of(name.base, 13), SLICE_LIT("x-rate-limit-"));
        if (rate || slice__ieq(name, SLICE_LIT("retry-after")))
            add_line(c, name, slice__trim(reply->headers[i].value));
    }
}

static void lose_report(struct throttler *t) {
    t->n_lost++;
    series__inc(t->s_lost);
}

/* @reply NULL: it was never sent. */
static void report(struct throttler *t, uint64_t permit, const struct governor_reply *reply) {
    struct err e = {0};
    struct call *c = t->n_reports < REPORTS_MAX ? new_call(t, "POST") : NULL;
    if (c == NULL) {
        lose_report(t);
        return;
    }
    c->is_report = true;
    int n = snprintf(c->url, sizeof c->url, "%s/api/v1/throttle/report?permit=%" PRIu64, t->url,
                     permit);
    if (reply == NULL || (reply->status == 0 && !reply->dispatched))
        snprintf(c->url + n, sizeof c->url - (size_t)n, "&undone=1");
    else
        snprintf(c->url + n, sizeof c->url - (size_t)n, "&status=%d%s%s", reply->status,
                 reply->block_page ? "&block=1" : "", reply->subject ? "&subject=1" : "");
    if (reply != NULL) add_limits(c, reply);
    if (http__start(t->o.http, &c->request, &e) != 0) {
        free(c);
        lose_report(t);
        return;
    }
    t->n_reports++;
}

/* What the throttler said. @return how long to wait, 0 with @permit set, or -1 when that is no
 * answer of a throttler. */
static int64_t read_answer(const struct http_response *r, uint64_t *permit) {
    yyjson_doc *doc = yyjson_read(r->body.base, r->body.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *granted = yyjson_obj_get(root, "granted");
    yyjson_val *number = yyjson_obj_get(root, "permit"), *wait = yyjson_obj_get(root, "wait_ms");
    int64_t wait_ns = -1;
    if (yyjson_is_true(granted) && yyjson_is_uint(number) && yyjson_get_uint(number) > 0) {
        *permit = yyjson_get_uint(number);
        wait_ns = 0;
    } else if (yyjson_is_false(granted)) {
        double ms = yyjson_is_num(wait) ? yyjson_get_num(wait) : 1e9; /* null: not by itself. */
        wait_ns = ms < (double)(WAIT_MOST_NS / NS_PER_MS) ? (int64_t)(ms * (double)NS_PER_MS)
                                                          : WAIT_MOST_NS;
        if (wait_ns < WAIT_LEAST_NS) wait_ns = WAIT_LEAST_NS;
    }
    yyjson_doc_free(doc);
    return wait_ns;
}

static void end_ask(struct throttler *t, struct gate_ask *a, const struct http_response *r) {
    char why[160];
    uint64_t permit = 0;
    int64_t wait_ns = r->err.code == 0 && r->status == 200 ? read_answer(r, &permit) : -1;
    if (r->err.code == ERR_CANCELED) { /* Our own end says nothing of it. */
        if (a != NULL) go_alone(t, a);
    } else if (r->err.code == 0 && r->status == 404) {
        be_back(t);
        if (a == NULL) return;
        count(t, NOT_SHARED);
        a->owner = NULL;
        a->cb(a, 0);
    } else if (wait_ns < 0) {
        if (r->err.code != 0) snprintf(why, sizeof why, "%.150s", r->err.msg);
        else if (r->status == 401 || r->status == 403)
            snprintf(why, sizeof why,
                     "HTTP %d: it refuses the token; THROTTLER_API_KEY has to be one of its "
                     "hub.tokens_file with the word write",
                     r->status);
        else snprintf(why, sizeof why, "HTTP %d, which is no answer of a throttler", r->status);
        be_away(t, why);
        if (a != NULL) go_alone(t, a);
    } else {
        be_back(t);
        if (a == NULL) {
            if (permit != 0) report(t, permit, NULL);
            return;
        }
        count(t, permit != 0 ? GRANTED : WAITS);
        a->owner = NULL;
        a->permit = permit;
        a->cb(a, wait_ns);
    }
}

static void on_ended(struct http_request *request, struct http_response *response) {
    struct call *c = request->data;
    struct throttler *t = c->t;
    if (c->is_report) {
        t->n_reports--;
        if (response->err.code != 0 || response->status != 200) lose_report(t);
    } else {
        end_ask(t, c->ask, response);
    }
    free(c);
}

/* The gate. */

static void on_ask(void *ctx, struct gate_ask *a) {
    struct throttler *t = ctx;
    struct err e = {0};
    struct call *c = NULL;
    a->permit = 0;
    int64_t gap_ns;
    /* While it is away, too, each request that is due asks first: it may have come back, and then
     * others send again. */
    if (!t->away || own_wait_ns(t, a->endpoint, &gap_ns) == 0) c = new_call(t, "POST");
    if (c == NULL) {
        go_alone(t, a);
        return;
    }
    snprintf(c->url, sizeof c->url,
             "%s/api/v1/throttle/permit?endpoint=%.63s&class=%s&cost=1&wait_ms=" WAIT_MS, t->url,
             a->endpoint, permit_class__name(a->class));
    c->ask = a;
    a->owner = c;
    if (http__start(t->o.http, &c->request, &e) == 0) return;
    free(c);
    be_away(t, e.msg);
    go_alone(t, a);
}

static void on_cancel(void *ctx, struct gate_ask *a) {
    struct call *c = a->owner;
    (void)ctx;
    a->owner = NULL;
    if (c == NULL) return;
    c->ask = NULL;
    http__cancel(c->t->o.http, &c->request);
}

static void on_end(void *ctx, struct gate_ask *a, const struct governor_reply *reply) {
    report(ctx, a->permit, reply);
}

static void init_metrics(struct throttler *t) {
    struct metrics *m = t->o.metrics;
    for (int i = 0; i < RESULT__N; i++)
        t->s_results[i] = metrics__counter(m, "souk_throttler_asks_total",
                                           "What the throttler said to a wish to send.",
                                           "result=\"%s\"", result_names[i]);
    t->s_away =
        metrics__gauge(m, "souk_throttler_away",
                       "1 while the throttler does not answer and own limits are halved.", "");
    t->s_lost = metrics__counter(m, "souk_throttler_reports_lost_total",
                                 "Ends of requests that the throttler was not told of.", "");
}

int throttler__new(struct throttler **out, const struct throttler_options *options, struct err *e) {
    *out = NULL;
    if (strlen(options->url) >= THROTTLER_URL_MAX || strlen(options->key) >= THROTTLER_KEY_MAX)
        return err__setf(e, ERR_LIMIT, "throttler: URL or key longer than %d bytes",
                         THROTTLER_URL_MAX - 1);
    struct throttler *t = calloc(1, sizeof *t);
    if (t == NULL) return err__setf(e, ERR_NOMEM, "throttler: out of memory");
    *t = (struct throttler){.o = *options, .gate = {on_ask, on_cancel, on_end, t}};
    snprintf(t->url, sizeof t->url, "%s", options->url);
    size_t n = strlen(t->url);
    if (n > 0 && t->url[n - 1] == '/') t->url[n - 1] = '\0';
    if (options->key[0] != '\0')
        snprintf(t->authorization, sizeof t->authorization, "Authorization: Bearer %s",
                 options->key);
    init_metrics(t);
    *out = t;
    return 0;
}

void throttler__free(struct throttler *t) { free(t); }

const struct gate *throttler__gate(struct throttler *t) { return &t->gate; }

void throttler__put(const struct throttler *t, struct buf *out) {
    if (t == NULL) {
        buf__append_str(out, "null");
        return;
    }
    buf__append_str(out, "{\"url\":");
    buf__json_string(out, slice__str(t->url));
    buf__printf(out, ",\"state\":\"%s\",\"since_ms\":%" PRId64 ",\"reason\":",
                t->away       ? "away"
                : t->answered ? "up"
                              : "unknown",
                t->since_wall_ns / NS_PER_MS);
    buf__json_string(out, slice__str(t->reason));
    buf__printf(out,
                ",\"asked\":%" PRIu64 ",\"granted\":%" PRIu64 ",\"waited\":%" PRIu64
                ",\"alone\":%" PRIu64 "}",
                t->counts[GRANTED] + t->counts[WAITS] + t->counts[NOT_SHARED], t->counts[GRANTED],
                t->counts[WAITS], t->counts[AWAY]);
}
