/* Permits for other processes, which share an address or a client id with this one.
 *
 * POST /api/v1/throttle/permit?endpoint=psapi&class=backfill&cost=1 answers at once: a permit with
 * its number, or the next time at which to ask, with the window that decides. At once nobody who
 * queues is overtaken; with &wait_ms=20000 the caller queues too, and gets its class's share.
 * Whoever got one tells the end (POST /report?permit=N&status=200, with the rate-limit headers of
 * the reply as its own; undone=1 instead of a status: it was never sent; block=1: a block page was
 * shown, as by Cloudflare; subject=1: a 4xx is about what was asked for, as a league), so that the
 * policy learns from it as from a request of ours. A permit that nobody reports counts as ended
 * after a minute: the token is spent in any case. Both need a token that may write: a permit spends
 * what others wait for, and a false report stops them. */
#include "throttle.h"
#include "../hub/call.h"
#include "souk/core/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PERMITS_MAX 256
#define REPORT_NS (60 * NS_PER_S)
#define COST_MAX 100
#define WAIT_MAX_MS 20000
#define ASK_AGAIN_NS (250 * NS_PER_MS)
#define HEADERS_MAX 24

struct lease {
    struct permit permit;
    struct throttle *throttle;
    char name[64];   /* Of the endpoint. */
    uint64_t number; /* 0: free, or it waits. */
    int64_t until_mono_ns;
    struct hub_reply *reply; /* Of one that waits for its permit; else NULL. */
};

struct throttle {
    struct governor *g;
    const struct clock *clock;
    struct lease leases[PERMITS_MAX];
    uint64_t n_given;
    throttle_save save;
    void *ctx;
    const struct throttler *throttler;
};

/* An answer that waits until what it says is on disk. */
struct answer {
    struct hub_reply *reply;
    struct buf body;
};

int throttle__new(struct throttle **out, const struct clock *clock, throttle_save save, void *ctx) {
    struct throttle *t = calloc(1, sizeof *t);
    if (t == NULL) return ERR_NOMEM;
    *t = (struct throttle){.clock = clock, .save = save, .ctx = ctx};
    *out = t;
    return 0;
}

void throttle__start(struct throttle *t, struct governor *g) { t->g = g; }

void throttle__set_throttler(struct throttle *t, const struct throttler *throttler) {
    t->throttler = throttler;
}

void throttle__free(struct throttle *t) { free(t); }

static void end_lease(struct throttle *t, struct lease *l, const struct governor_reply *reply,
                      struct governor_verdict *verdict) {
    governor__report(t->g, &l->permit, reply, verdict);
    l->number = 0;
}

static void end_unanswered(struct throttle *t, struct lease *l) {
    /* No status says nothing about the server: it must not look like a failure of it. */
    const struct governor_reply reply = {
        .status = 200, .dispatched = true, .done_mono_ns = t->clock->mono_ns};
    end_lease(t, l, &reply, NULL);
}

void throttle__tick(struct throttle *t) {
    for (size_t i = 0; t->g != NULL && i < PERMITS_MAX; i++) {
        struct lease *l = &t->leases[i];
        bool over = l->until_mono_ns <= t->clock->mono_ns;
        /* It is looked at once a second: half a second early is as near as half a second late. */
        bool waited = l->until_mono_ns <= t->clock->mono_ns + NS_PER_S / 2;
        if (l->number != 0 && over) end_unanswered(t, l);
        else if (l->reply != NULL && (waited || !hub_reply__is_awaited(l->reply)))
            governor__cancel(t->g, &l->permit);
    }
}

void throttle__stop(struct throttle *t) {
    for (size_t i = 0; i < PERMITS_MAX; i++)
        if (t->leases[i].number != 0) end_unanswered(t, &t->leases[i]);
    t->g = NULL; /* Its closing tells those who wait. */
}

static void on_saved(void *data, bool ok) {
    struct answer *a = data;
    if (!ok) {
        call__refuse(&a->body, 503, "unavailable", "the log takes nothing; see souk status");
    }
    hub_reply__send(a->reply, ok ? 200 : 503, buf__slice(&a->body));
    buf__fini(&a->body);
    free(a);
}

/* Answers with @out, which is taken, once the governor's state is on disk. */
static void answer_saved(struct throttle *t, struct hub_reply *reply, struct buf *out) {
    struct answer *a = calloc(1, sizeof *a);
    if (a == NULL) {
        buf__clear(out);
        call__refuse(out, 503, "unavailable", "out of memory");
        hub_reply__send(reply, 503, buf__slice(out));
        return;
    }
    *a = (struct answer){.reply = reply, .body = *out};
    *out = buf__init(1024);
    if (!t->save(t->ctx, on_saved, a)) on_saved(a, false);
}

/* The same for a call that is being answered. @return 0, or the status of a refusal. */
static int save_and_answer(struct throttle *t, const struct hub_args *args, struct buf *out) {
    struct hub_reply *reply = hub_args__later(args);
    if (reply == NULL) {
        buf__clear(out);
        return call__refuse(out, 503, "unavailable", "out of memory");
    }
    answer_saved(t, reply, out);
    return 0;
}

static bool is_ready(const struct throttle *t, struct buf *out, int *status) {
    if (t->g != NULL) return true;
    *status = call__refuse(out, 503, "unavailable", "it is starting or ending");
    return false;
}

static bool status_of(const struct throttle *t, const char *name, struct endpoint_status *out) {
    for (size_t i = 0; i < governor__n_endpoints(t->g); i++) {
        governor__status(t->g, i, out);
        if (strcmp(out->name, name) == 0) return true;
    }
    return false;
}

static struct endpoint *endpoint_of(struct throttle *t, const struct hub_args *args,
                                    struct endpoint_status *st, struct buf *out, int *status) {
    char name[64], msg[160];
    if (hub_args__text(args, "endpoint", name, sizeof name) <= 0) {
        *status = call__refuse(out, 400, "bad_request", "endpoint is missing: ?endpoint=NAME");
        return NULL;
    }
    if (!is_ready(t, out, status)) return NULL;
    struct endpoint *ep = status_of(t, name, st) ? governor__find(t->g, name) : NULL;
    if (ep != NULL) return ep;
    snprintf(msg, sizeof msg, "there is no endpoint %s; GET /api/v1/throttle lists them", name);
    *status = call__refuse(out, 404, "not_found", msg);
    return NULL;
}

/* When one may go, as people and programs read it. */
static void put_when(const struct throttle *t, const struct endpoint_status *st, struct buf *out) {
    int64_t now_ns = t->clock->mono_ns, wait_ns = st->next_mono_ns - now_ns;
    buf__append_str(out, "\"state\":");
    buf__json_string(out, slice__str(endpoint_state__name(st->state)));
    buf__append_str(out, ",\"reason\":");
    buf__json_string(out, slice__str(st->reason));
    if (st->next_mono_ns == INT64_MAX) {
        buf__append_str(out, ",\"wait_ms\":null,\"next_ms\":null");
        return;
    }
    if (wait_ns < 0) wait_ns = 0;
    buf__printf(out, ",\"wait_ms\":%" PRId64 ",\"next_ms\":%" PRId64,
                (wait_ns + NS_PER_MS - 1) / NS_PER_MS,
                (t->clock->wall_ns + wait_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static void put_classes(const struct endpoint_status *st, struct buf *out) {
    buf__append_str(out, ",\"classes\":{");
    for (int c = 0; c < CLASS__N; c++)
        buf__printf(out, "%s\"%s\":{\"waiting\":%u,\"granted\":%" PRIu64 "}", c == 0 ? "" : ",",
                    permit_class__name((enum permit_class)c), st->n_waiting_by_class[c],
                    st->n_granted_by_class[c]);
    buf__append_str(out, "}");
}

static void put_window_list(const struct governor_window_status *w, uint32_t n, struct buf *out) {
    buf__append_str(out, "\"windows\":[");
    for (uint32_t i = 0; i < n; i++) {
        buf__append_str(out, i == 0 ? "{\"rule\":" : ",{\"rule\":");
        buf__json_string(out, slice__str(w[i].rule));
        buf__printf(out, ",\"limit\":%u,\"used\":%u,\"period_s\":%u,\"restriction_s\":%u}",
                    w[i].limit, w[i].used, w[i].period_s, w[i].restriction_s);
    }
    buf__append_str(out, "]");
}

void throttle__put_policies(const struct governor *g, struct buf *out) {
    buf__append_str(out, "[");
    for (size_t i = 0; i < governor__n_policies(g); i++) {
        struct policy_status p;
        governor__policy(g, i, &p);
        buf__append_str(out, i == 0 ? "{\"policy\":" : ",{\"policy\":");
        buf__json_string(out, slice__str(p.name));
        buf__append_str(out, ",\"venue\":");
        buf__json_string(out, slice__str(p.venue));
        buf__printf(out, ",\"endpoints\":%u,\"learned_ms\":%" PRId64 ",", p.n_endpoints,
                    p.learned_wall_ns / NS_PER_MS);
        put_window_list(p.windows, p.n_windows, out);
        buf__append_str(out, "}");
    }
    buf__append_str(out, "]");
}

static void put_endpoint(const struct throttle *t, const struct endpoint_status *st,
                         struct buf *out) {
    buf__append_str(out, "{\"endpoint\":");
    buf__json_string(out, slice__str(st->name));
    buf__append_str(out, ",\"host\":");
    buf__json_string(out, slice__str(st->host));
    buf__append_str(out, ",\"policy\":");
    buf__json_string(out, slice__str(st->policy));
    buf__append_str(out, ",");
    put_when(t, st, out);
    buf__printf(out, ",\"rate_per_s\":%.6g,\"inflight\":%u,\"waiting\":%u,\"retries_left\":%u,",
                st->rate_per_s, st->n_inflight, st->n_waiting, st->retries_left);
    put_window_list(st->windows, st->n_windows, out);
    put_classes(st, out);
    buf__printf(out, ",\"requests\":%" PRIu64 ",\"throttled\":%" PRIu64 ",\"errors\":%" PRIu64 "}",
                st->n_requests, st->n_throttled, st->n_errors);
}

static int get_all(void *ctx, const struct hub_args *args, struct buf *out) {
    struct throttle *t = ctx;
    struct endpoint_status st;
    int status;
    (void)args;
    if (!is_ready(t, out, &status)) return status;
    buf__append_str(out, "{\"endpoints\":[");
    for (size_t i = 0; i < governor__n_endpoints(t->g); i++) {
        governor__status(t->g, i, &st);
        if (i > 0) buf__append_str(out, ",");
        put_endpoint(t, &st, out);
    }
    buf__append_str(out, "],\"policies\":");
    throttle__put_policies(t->g, out);
    buf__append_str(out, ",\"throttler\":");
    throttler__put(t->throttler, out);
    buf__append_str(out, "}");
    return 200;
}

static struct lease *free_lease(struct throttle *t) {
    for (size_t i = 0; i < PERMITS_MAX; i++)
        if (t->leases[i].number == 0 && t->leases[i].reply == NULL) return &t->leases[i];
    return NULL;
}

/* No window can ever hold it: nobody should wait for that. @return the status of the refusal. */
static int refuse_cost(const struct throttle *t, const struct lease *l, const char *name,
                       struct buf *out) {
    char msg[192];
    const struct endpoint *ep = governor__find(t->g, name);
    snprintf(msg, sizeof msg,
             "cost=%u is more than the windows of %s can ever hold at once: it is at most %u",
             l->permit.cost, name, ep == NULL ? 0 : governor__cost_max(t->g, ep));
    return call__refuse(out, 400, "bad_request", msg);
}

static void put_granted(struct throttle *t, struct lease *l, struct buf *out) {
    l->number = ++t->n_given;
    l->until_mono_ns = t->clock->mono_ns + REPORT_NS;
    buf__printf(out, "{\"granted\":true,\"permit\":%" PRIu64 ",\"report_within_ms\":%" PRId64 "}",
                l->number, REPORT_NS / NS_PER_MS);
}

static void put_not_granted(struct throttle *t, const char *endpoint, struct buf *out) {
    struct endpoint_status st;
    status_of(t, endpoint, &st);
    bool for_good = st.state == ENDPOINT_DISABLED || st.state == ENDPOINT_KILLED || st.paused;
    if (st.next_mono_ns == INT64_MAX && !for_good)
        st.next_mono_ns = t->clock->mono_ns + ASK_AGAIN_NS; /* A reply is awaited. */
    /* Who queues goes first; a ceiling or the cost says no where the windows alone would not. */
    if (st.next_mono_ns <= t->clock->mono_ns) {
        st.next_mono_ns = t->clock->mono_ns + NS_PER_S;
        snprintf(st.reason, sizeof st.reason, "waits for its turn; with wait_ms it would queue");
    }
    buf__append_str(out, "{\"granted\":false,");
    put_when(t, &st, out);
    buf__append_str(out, "}");
}

/* The wait of a caller who queues is over. */
static void on_waited(struct permit *p, int status) {
    struct lease *l = (struct lease *)p; /* Its first member. */
    struct throttle *t = l->throttle;
    struct hub_reply *reply = l->reply;
    struct buf out = buf__init(4096);
    int code = 200;
    l->reply = NULL;
    if (status == 0 && !hub_reply__is_awaited(reply)) {
        governor__undo(t->g, p);
        status = ERR_CANCELED;
    } else if (status == 0) {
        put_granted(t, l, &out);
    } else if (t->g != NULL && status == ERR_LIMIT) {
        code = refuse_cost(t, l, l->name, &out);
    } else if (t->g != NULL) {
        char name[64];
        snprintf(name, sizeof name, "%s", l->name);
        put_not_granted(t, name, &out);
    } else {
        code = call__refuse(&out, 503, "unavailable", "it is ending");
    }
    if (status == 0) answer_saved(t, reply, &out);
    else hub_reply__send(reply, code, buf__slice(&out));
    buf__fini(&out);
}

/* Reads class and cost. @return 0, or the status of a refusal. */
static int read_wish(const struct hub_args *args, struct permit *p, struct buf *out) {
    char text[32];
    int64_t cost;
    *p = (struct permit){.cost = 1, .proven = true}; /* Its own process knows what it asks for. */
    if (hub_args__text(args, "class", text, sizeof text) > 0) {
        p->class = permit_class__find(slice__str(text));
        if (p->class == CLASS__N)
            return call__refuse(out, 400, "bad_request",
                                "class is one of tail, metadata, backfill, interactive, probe");
    }
    if (hub_args__text(args, "cost", text, sizeof text) > 0) {
        if (!slice__int64(slice__str(text), &cost) || cost < 1 || cost > COST_MAX)
            return call__refuse(out, 400, "bad_request", "cost is a number from 1 to 100");
        p->cost = (uint32_t)cost;
    }
    return 0;
}

static int queue_up(struct throttle *t, const struct hub_args *args, struct endpoint *ep,
                    struct lease *l, int64_t wait_ms, struct buf *out) {
    l->reply = hub_args__later(args);
    if (l->reply == NULL) return call__refuse(out, 503, "unavailable", "out of memory");
    l->until_mono_ns = t->clock->mono_ns + wait_ms * NS_PER_MS;
    int rc = governor__acquire(t->g, ep, &l->permit, "", on_waited);
    if (rc == 0) return 0;
    put_not_granted(t, l->name, out);
    hub_reply__send(l->reply, 200, buf__slice(out));
    l->reply = NULL;
    return 0;
}

static int post_permit(void *ctx, const struct hub_args *args, struct buf *out) {
    struct throttle *t = ctx;
    struct endpoint_status st;
    struct permit wish;
    char text[32];
    int status = 0;
    int64_t wait_ms = 0;
    struct endpoint *ep = endpoint_of(t, args, &st, out, &status);
    if (ep == NULL) return status;
    if ((status = read_wish(args, &wish, out)) != 0) return status;
    if (hub_args__text(args, "wait_ms", text, sizeof text) > 0 &&
        (!slice__int64(slice__str(text), &wait_ms) || wait_ms < 0 || wait_ms > WAIT_MAX_MS))
        return call__refuse(out, 400, "bad_request", "wait_ms is a number from 0 to 20000");
    struct lease *l = free_lease(t);
    if (l == NULL)
        return call__refuse(out, 503, "full", "256 permits are out or waited for; report them");
    *l = (struct lease){.permit = wish, .throttle = t};
    snprintf(l->name, sizeof l->name, "%s", st.name);
    if (wish.cost > governor__cost_max(t->g, ep)) return refuse_cost(t, l, st.name, out);
    if (wait_ms > 0) return queue_up(t, args, ep, l, wait_ms, out);
    if (governor__try(t->g, ep, &l->permit, "") != 0) {
        put_not_granted(t, st.name, out);
        return 200;
    }
    put_granted(t, l, out);
    return save_and_answer(t, args, out);
}

/* The reply's rate-limit headers, as the client passes them on. */
static size_t copy_headers(const struct hub_args *args, struct governor_header *out) {
    size_t n = 0;
    struct slice name, value;
    for (size_t i = 0; n < HEADERS_MAX && hub_args__header(args, i, &name, &value); i++) {
        bool limits =
            name.len > 12 && slice__ieq(slice__of(name.base, 12), SLICE_LIT("x-rate-limit"));
        if (limits || slice__ieq(name, SLICE_LIT("retry-after")))
            out[n++] = (struct governor_header){.name = name, .value = value};
    }
    return n;
}

static int post_report(void *ctx, const struct hub_args *args, struct buf *out) {
    struct throttle *t = ctx;
    int refusal;
    if (!is_ready(t, out, &refusal)) return refusal;
    struct governor_header headers[HEADERS_MAX];
    char text[32];
    int64_t number = 0, status = 0;
    if (hub_args__text(args, "permit", text, sizeof text) <= 0 ||
        !slice__int64(slice__str(text), &number) || number <= 0)
        return call__refuse(out, 400, "bad_request", "permit is missing: ?permit=NUMBER");
    bool undone = hub_args__text(args, "undone", text, sizeof text) > 0;
    if (!undone && (hub_args__text(args, "status", text, sizeof text) <= 0 ||
                    !slice__int64(slice__str(text), &status) || status < 0 || status > 599))
        return call__refuse(out, 400, "bad_request",
                            "status is the HTTP status, 0 without a response");
    for (size_t i = 0; i < PERMITS_MAX; i++) {
        struct lease *l = &t->leases[i];
        if (l->number != (uint64_t)number) continue;
        if (undone) { /* It never left: its token is somebody else's. */
            governor__undo(t->g, &l->permit);
            l->number = 0;
            buf__append_str(out, "{\"ok\":true}");
            return 200;
        }
        const struct governor_reply reply = {
            .status = (int)status,
            .dispatched = true,
            .headers = headers,
            .n_headers = copy_headers(args, headers),
            .done_mono_ns = t->clock->mono_ns,
            .subject = hub_args__text(args, "subject", text, sizeof text) > 0,
            .block_page = hub_args__text(args, "block", text, sizeof text) > 0};
        end_lease(t, l, &reply, NULL);
        buf__append_str(out, "{\"ok\":true}");
        return 200;
    }
    return call__refuse(out, 404, "not_found",
                        "no such permit is out; it may have been ended by time");
}

static int steer(struct throttle *t, const struct hub_args *args, struct buf *out,
                 const char *what) {
    struct endpoint_status st;
    char why[64], text[32];
    int status = 0;
    int64_t for_s = 0;
    struct endpoint *ep = endpoint_of(t, args, &st, out, &status);
    if (ep == NULL) return status;
    if (hub_args__text(args, "reason", why, sizeof why) <= 0)
        snprintf(why, sizeof why, "no reason given");
    if (strcmp(what, "resume") == 0) {
        governor__resume(t->g, ep);
    } else if (strcmp(what, "kill") == 0) {
        governor__kill(t->g, ep, why);
    } else {
        int n = hub_args__text(args, "for_s", text, sizeof text);
        if (n > 0 &&
            (!slice__int64(slice__str(text), &for_s) || for_s < 1 || for_s > 10 * 365 * 86400))
            return call__refuse(out, 400, "bad_request", "for_s is a number of seconds");
        governor__pause(t->g, ep, n > 0 ? for_s * NS_PER_S : INT64_MAX, why);
    }
    LOG_WARN("cli", "limit changed by hand", LOG_S("endpoint", st.name), LOG_S("what", what),
             LOG_S("reason", why), LOG_S("by", hub_args__who(args)));
    status_of(t, st.name, &st);
    put_endpoint(t, &st, out);
    return save_and_answer(t, args, out);
}

static int post_pause(void *ctx, const struct hub_args *args, struct buf *out) {
    return steer(ctx, args, out, "pause");
}
static int post_resume(void *ctx, const struct hub_args *args, struct buf *out) {
    return steer(ctx, args, out, "resume");
}
static int post_kill(void *ctx, const struct hub_args *args, struct buf *out) {
    return steer(ctx, args, out, "kill");
}

size_t throttle__calls(struct throttle *t, struct hub_call *out) {
    const struct hub_call calls[] = {
        {"GET", "/api/v1/throttle", false, get_all, t},
        {"POST", "/api/v1/throttle/permit", true, post_permit, t},
        {"POST", "/api/v1/throttle/report", true, post_report, t},
        {"POST", "/api/v1/throttle/pause", true, post_pause, t},
        {"POST", "/api/v1/throttle/resume", true, post_resume, t},
        {"POST", "/api/v1/throttle/kill", true, post_kill, t},
    };
    memcpy(out, calls, sizeof calls);
    return sizeof calls / sizeof calls[0];
}
