/* See world.h. */
#include "../lib/moved.h"
#include "world.h"
#include "souk/core/log.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static bool before(const struct event *a, const struct event *b) {
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void push(struct world *w, struct event e) {
    if (w->n_events == w->cap_events) {
        w->cap_events = w->cap_events == 0 ? 64 : w->cap_events * 2;
        w->events = realloc(w->events, w->cap_events * sizeof *w->events);
        assert(w->events != NULL);
    }
    size_t i = w->n_events++;
    e.order = w->n_ordered++;
    for (; i > 0 && before(&e, &w->events[(i - 1) / 2]); i = (i - 1) / 2)
        w->events[i] = w->events[(i - 1) / 2];
    w->events[i] = e;
}

static struct event pop(struct world *w) {
    struct event top = w->events[0], last = w->events[--w->n_events];
    size_t i = 0;
    for (size_t child; (child = i * 2 + 1) < w->n_events; i = child) {
        if (child + 1 < w->n_events && before(&w->events[child + 1], &w->events[child])) child++;
        if (!before(&w->events[child], &last)) break;
        w->events[i] = w->events[child];
    }
    if (w->n_events > 0) w->events[i] = last;
    return top;
}

uint64_t world__random(struct world *w, uint64_t below) {
    uint64_t x = w->random += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return below == 0 ? 0 : (x ^ x >> 31) % below;
}

void world__at(struct world *w, int64_t at_ns, void (*call)(struct world *w, void *data),
               void *data) {
    push(w, (struct event){.at_ns = at_ns, .kind = EVENT_CALL, .call = call, .data = data});
}

static struct exchange *new_exchange(struct world *w) {
    struct exchange *x = w->exchanges;
    while (x != NULL && !x->free) x = x->next;
    if (x == NULL) {
        x = calloc(1, sizeof *x);
        assert(x != NULL);
        x->next = w->exchanges;
        w->exchanges = x;
    }
    struct exchange *next = x->next;
    *x = (struct exchange){.world = w, .next = next};
    return x;
}

static void on_permit(struct permit *p, int status);

static void ask(struct load *l) {
    struct world *w = l->world;
    size_t queue_max = l->queue_max == 0 ? 32 : l->queue_max;
    while (l->n_left > 0 && l->n_waiting < queue_max) {
        struct exchange *x = new_exchange(w);
        x->load = l;
        x->server = l->server;
        x->asked_ns = w->clock.mono_ns;
        x->permit = (struct permit){
            .data = x, .class = l->class, .tier = l->tier, .may_head = l->may_head};
        if (governor__acquire(w->g, l->endpoint, &x->permit, "", on_permit) != 0) {
            x->free = true; /* Disabled, or full: whoever resumes it asks anew. */
            return;
        }
        l->n_left--;
        l->n_waiting++;
    }
}

static void depart(struct exchange *x) {
    struct world *w = x->world;
    int64_t wait_ns = governor__depart(w->g, &x->permit);
    if (wait_ns > 0) {
        push(w, (struct event){.at_ns = w->clock.mono_ns + wait_ns, .kind = EVENT_DEPART, .x = x});
        return;
    }
    int64_t rtt_ns = w->latency_ns / 2 + (int64_t)world__random(w, (uint64_t)w->latency_ns + 1);
    x->is_head = x->permit.head;
    x->sent_ns = w->clock.mono_ns;
    x->reply_ns = x->sent_ns + rtt_ns;
    struct server *s = x->server;
    w->n_flying++;
    w->n_heads_flying += x->is_head;
    if (++s->n_inflight > s->inflight_worst) s->inflight_worst = s->n_inflight;
    if (w->n_heads_flying > 0 && w->n_flying > 1) s->head_in_company = true;
    push(w, (struct event){.at_ns = x->sent_ns + rtt_ns / 2, .kind = EVENT_ARRIVE, .x = x});
}

static void on_permit(struct permit *p, int status) {
    struct exchange *x = p->data;
    struct load *l = x->load;
    l->n_waiting--;
    if (status != 0) {
        x->free = true;
        l->n_refused += status == ERR_REFUSED;
        return;
    }
    l->n_sent += !p->head;
    depart(x);
}

static void arrive(struct exchange *x) {
    struct world *w = x->world;
    struct server *s = x->server;
    int64_t now_ns = w->clock.mono_ns;
    x->status = 200;
    if (x->is_head) {
        s->n_heads++;
        x->status = s->head_status != 0 ? s->head_status : 204;
        if (s->venue != NULL) venue__head(s->venue, now_ns);
    } else {
        s->n_arrived++;
        s->last_arrival_ns = now_ns;
        if (s->venue != NULL) {
            uint64_t before_n = venue__books(s->venue).n_violations;
            x->retry_s = venue__get(s->venue, now_ns);
            if (venue__books(s->venue).n_violations > before_n) x->status = 429;
        }
        if (s->judge != NULL) x->status = s->judge(s, w);
        if (x->status == 200 && s->status != 0) x->status = s->status;
        if (x->status == 429) s->n_429++, s->last_429_ns = now_ns;
    }
    if (!s->lost) push(w, (struct event){.at_ns = x->reply_ns, .kind = EVENT_REPLY, .x = x});
}

static void note(struct world *w, const struct exchange *x) {
    if (w->n_sent == w->cap_sent) {
        w->cap_sent = w->cap_sent == 0 ? 1024 : w->cap_sent * 2;
        w->sent_ns = realloc(w->sent_ns, w->cap_sent * sizeof *w->sent_ns);
        w->replied_ns = realloc(w->replied_ns, w->cap_sent * sizeof *w->replied_ns);
        w->asked_ns = realloc(w->asked_ns, w->cap_sent * sizeof *w->asked_ns);
        assert(w->sent_ns != NULL && w->replied_ns != NULL && w->asked_ns != NULL);
    }
    size_t i = w->n_sent++; /* Replies overtake each other: kept in order of sending. */
    for (; i > 0 && w->sent_ns[i - 1] > x->sent_ns; i--) {
        w->sent_ns[i] = w->sent_ns[i - 1];
        w->replied_ns[i] = w->replied_ns[i - 1];
        w->asked_ns[i] = w->asked_ns[i - 1];
    }
    w->sent_ns[i] = x->sent_ns;
    w->replied_ns[i] = x->reply_ns;
    w->asked_ns[i] = x->asked_ns;
}

/* Cuts "Name: value" lines into headers, which stay in @text. */
static size_t cut(char *text, struct governor_header *headers, size_t max) {
    size_t n = 0;
    for (char *line = strtok(text, "\r\n"); line != NULL && n < max; line = strtok(NULL, "\r\n")) {
        char *colon = strchr(line, ':');
        assert(colon != NULL);
        *colon = '\0';
        headers[n++] = (struct governor_header){slice__str(line), slice__str(colon + 2)};
    }
    return n;
}

static void reply(struct exchange *x) {
    struct world *w = x->world;
    struct server *s = x->server;
    struct load *l = x->load;
    struct governor_header headers[20];
    char text[VENUE_HEADERS_MAX + 256] = "", retry[64];
    if (s->venue != NULL)
        venue__headers(s->venue, w->clock.mono_ns, x->is_head ? s->head_degraded : s->degraded, text);
    if (s->tell != NULL) s->tell(s, w, text);
    size_t n = cut(text, headers, 16);
    snprintf(retry, sizeof retry, "%lld", (long long)x->retry_s);
    if (s->retry_after != NULL)
        headers[n++] = (struct governor_header){SLICE_LIT("Retry-After"), slice__str(s->retry_after)};
    else if (x->status == 429 && s->venue != NULL && !s->silent)
        headers[n++] = (struct governor_header){SLICE_LIT("retry-after"), slice__str(retry)};
    struct governor_reply r = {.status = s->block_page ? 403 : x->status,
                               .dispatched = true,
                               .headers = headers,
                               .n_headers = n,
                               .done_mono_ns = w->clock.mono_ns,
                               .block_page = s->block_page};
    w->n_flying--;
    w->n_heads_flying -= x->is_head;
    s->n_inflight--;
    if (!x->is_head) note(w, x);
    governor__report(w->g, &x->permit, &r, &w->last);
    w->last_status = r.status;
    bool fine = r.status < 400;
    if (x->is_head) {
        l->n_left++; /* The wish itself is still there. */
    } else if (fine) {
        l->n_done++;
    } else {
        l->n_failed++;
        if (!l->no_retry) l->n_left++;
    }
    x->free = true;
    ask(l);
}

static void happen(struct world *w, const struct event *e) {
    switch (e->kind) {
    case EVENT_DEPART: depart(e->x); return;
    case EVENT_ARRIVE: arrive(e->x); return;
    case EVENT_REPLY: reply(e->x); return;
    case EVENT_CALL: e->call(w, e->data); return;
    }
}

static bool all_done(const struct world *w) {
    for (const struct load *l = w->loads; l != NULL; l = l->next)
        if (l->n_left > 0 || l->n_waiting > 0) return false;
    return w->n_flying == 0;
}

/* One instant: all events of it, then the governor. @return false at @until_ns. */
static bool step(struct world *w, int64_t until_ns) {
    int64_t due_ns = governor__due_ns(w->g);
    if (w->n_events > 0 && w->events[0].at_ns < due_ns) due_ns = w->events[0].at_ns;
    if (due_ns > until_ns) due_ns = until_ns;
    if (due_ns > w->clock.mono_ns) {
        w->clock.wall_ns += due_ns - w->clock.mono_ns;
        w->clock.mono_ns = due_ns;
    }
    while (w->n_events > 0 && w->events[0].at_ns <= w->clock.mono_ns) {
        struct event e = pop(w);
        happen(w, &e);
    }
    governor__tick(w->g);
    for (struct load *l = w->loads; l != NULL; l = l->next) ask(l);
    return w->clock.mono_ns < until_ns;
}

void world__run(struct world *w, int64_t until_ns) {
    while (step(w, until_ns)) {}
}

bool world__finish(struct world *w, int64_t until_ns) {
    while (!all_done(w))
        if (!step(w, until_ns)) return false;
    return true;
}

static void open_governor(struct world *w) {
    struct err e;
    int rc = governor__open(&w->g, &w->loop, &w->clock, &w->metrics, &w->options, &e);
    assert(rc == 0);
    (void)rc;
}

/* What failed can be done again: the same seed gives the same run. */
static uint64_t last_seed;
static const struct world *last_world;

static void tell_seed(int status, void *data) {
    (void)data;
    if (status != 0)
        fprintf(stderr, "the last world had seed %llu, its clock stood at %.3f s\n", (unsigned long long)last_seed,
                last_world == NULL ? -1.0 : (double)(last_world->clock.mono_ns - WORLD_START_NS) / (double)S);
}

struct world *world__new(uint64_t seed, const struct governor_options *options) {
    struct world *w = calloc(1, sizeof *w);
    static FILE *quiet;
    assert(w != NULL);
    if (quiet == NULL) quiet = fopen("/dev/null", "w");
    log__setup(quiet, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR); /* Errors are what the runs are made of. */
    static bool told;
    if (!told) on_exit(tell_seed, NULL);
    told = true;
    last_seed = seed;
    last_world = w;
    if (options != NULL) w->options = *options;
    w->options.seed = seed;
    w->random = seed * 977 + 1;
    w->latency_ns = 120 * MS;
    w->clock = (struct clock){.mono_ns = WORLD_START_NS, .wall_ns = INT64_C(1780000000) * S};
    int rc = uv_loop_init(&w->loop);
    if (rc == 0) rc = metrics__init(&w->metrics);
    assert(rc == 0);
    open_governor(w);
    return w;
}

static void close_governor(struct world *w) {
    for (struct exchange *x = w->exchanges; x != NULL; x = x->next)
        if (!x->free && x->permit.where == PERMIT_WAITING) x->load->n_left = 0;
    for (struct load *l = w->loads; l != NULL; l = l->next) l->n_left = 0;
    governor__close(w->g, NULL, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
}

static void drop_exchanges(struct world *w) {
    for (struct exchange *x = w->exchanges, *next; x != NULL; x = next) {
        next = x->next;
        free(x);
    }
    w->exchanges = NULL;
    w->n_events = w->n_flying = w->n_heads_flying = 0;
}

void world__crash(struct world *w, struct buf *saved) {
    if (saved != NULL) {
        buf__clear(saved);
        governor__save(w->g, saved);
    }
    close_governor(w);
    drop_exchanges(w);
    for (struct load *l = w->loads; l != NULL; l = l->next) l->n_waiting = l->server->n_inflight = 0;
    w->loads = NULL;
    open_governor(w);
}

void world__restore(struct world *w, const struct buf *saved) {
    struct err e;
    int rc = governor__restore(w->g, buf__slice(saved), &e);
    assert(rc == 0);
    (void)rc;
}

void world__free(struct world *w) {
    last_world = NULL;
    close_governor(w);
    drop_exchanges(w);
    int rc = uv_loop_close(&w->loop);
    assert(rc == 0);
    (void)rc;
    moved__write(&w->metrics);
    metrics__fini(&w->metrics);
    free(w->events);
    free(w->sent_ns);
    free(w->replied_ns);
    free(w->asked_ns);
    free(w);
}

struct endpoint_options world__vendor(const char *name) {
    return (struct endpoint_options){
        .name = name, .host = "api.test", .rate_per_s = 0.8, .inflight_max = 2};
}

struct endpoint *world__endpoint(struct world *w, const char *name,
                                 const struct endpoint_options *options) {
    struct endpoint_options o = options != NULL ? *options : world__vendor(name);
    o.name = name;
    struct endpoint *ep = governor__endpoint(w->g, &o);
    assert(ep != NULL);
    return ep;
}

void world__load(struct world *w, struct load *l) {
    l->world = w;
    l->next = w->loads;
    w->loads = l;
    ask(l);
}

size_t world__cancel(struct world *w, struct load *l, size_t n) {
    size_t done = 0;
    for (struct exchange *x = w->exchanges; x != NULL && done < n; x = x->next) {
        if (x->free || x->load != l || x->permit.where != PERMIT_WAITING) continue;
        if (world__random(w, 2) == 0) continue;
        governor__cancel(w->g, &x->permit);
        done++;
    }
    return done;
}

struct endpoint_status world__status(struct world *w, const char *name) {
    struct endpoint_status st = {0};
    for (size_t i = 0; i < governor__n_endpoints(w->g); i++) {
        governor__status(w->g, i, &st);
        if (strcmp(st.name, name) == 0) return st;
    }
    assert(st.name == NULL); /* There is no such endpoint. */
    abort();
    return st;
}

int64_t world__lateness_ns(const struct world *w, const struct optimum *o, double spare) {
    int64_t worst_ns = 0;
    for (size_t k = 1; k < w->n_sent; k++) {
        int64_t t = optimum__eligible_ns(o, w->sent_ns, w->replied_ns, k, w->asked_ns[k], spare);
        if (w->sent_ns[k] - t > worst_ns) worst_ns = w->sent_ns[k] - t;
    }
    return worst_ns;
}

void table__row(const char *scenario, uint64_t seeds, uint64_t requests, uint64_t violations,
                double ratio, bool passed) {
    const char *path = getenv("SOUK_GOVERNOR_TABLE");
    FILE *f = path == NULL || path[0] == '\0' ? NULL : fopen(path, "a");
    char text[16] = "-";
    if (ratio >= 0) snprintf(text, sizeof text, "%.3f", ratio);
    fprintf(f == NULL ? stdout : f, "%s\t%llu\t%llu\t%llu\t%s\t%s\n", scenario,
            (unsigned long long)seeds, (unsigned long long)requests, (unsigned long long)violations,
            text, passed ? "passed" : "FAILED");
    if (f != NULL) fclose(f);
}
