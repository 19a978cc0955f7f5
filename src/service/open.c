/* Opening the rooms in order, each stage with its time in the log. */
#include "../streams/cursor.h"
#include "../streams/poll_call.h"
#include "app.h"
#include "reload.h"
#include "souk/core/log.h"
#include "souk/decode.h"
#include "souk/tables.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPOOL_DIR_MAX 512

static void init_metrics(struct app *a) {
    static const char *const states[] = {"starting", "running", "draining", "degraded"};
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    struct metrics *m = &a->metrics;
    series__set(metrics__gauge(m, "souk_build_info", "Version of the program.",
                               "version=\"%s\",compiler=\"%s\"", SOUK_VERSION,
#ifdef __clang__
                               "clang"
#else
                               "gcc"
#endif
                               ),
                1);
    a->m.loop_lag = metrics__histogram(m, "souk_loop_lag_seconds",
                                       "How long a turn of the loop kept others waiting.", "");
    a->m.iterations = metrics__counter(m, "souk_loop_iterations_total", "Turns of the loop.", "");
    a->m.ready = metrics__gauge(m, "souk_ready", "1 when it takes part.", "");
    a->m.cpu =
        metrics__counter(m, "process_cpu_seconds_total", "Processor time, user and system.", "");
    a->m.absent = metrics__gauge(m, "souk_streams_absent",
                                 "Streams that do not run and whose place is kept.", "");
    a->m.rss = metrics__gauge(m, "process_resident_memory_bytes", "Resident memory.", "");
    a->m.fds = metrics__gauge(m, "process_open_fds", "Open file descriptors.", "");
    a->m.start = metrics__gauge(m, "process_start_time_seconds",
                                "When the process started, since 1970.", "");
    series__set(a->m.start, (double)a->started_wall_ns / (double)NS_PER_S);
    for (int i = 0; i < WORK__N; i++)
        a->m.work[i] = metrics__histogram(m, "souk_loop_callback_seconds",
                                          "What turns of the loop were spent on.", "kind=\"%s\"",
                                          app_work_names[i]);
    for (int i = 0; i < 4; i++) {
        a->m.state[i] =
            metrics__gauge(m, "souk_state", "1 for the state it is in.", "state=\"%s\"", states[i]);
        a->m.log[i] = metrics__counter(m, "souk_log_messages_total", "Log lines by level.",
                                       "level=\"%s\"", levels[i]);
    }
}

static void stage_done(struct app *a, const char *name, int64_t *since_ns) {
    int64_t now_ns = clock__stopwatch_ns();
    double took_s = (double)(now_ns - *since_ns) / (double)NS_PER_S;
    series__set(metrics__gauge(&a->metrics, "souk_start_phase_seconds",
                               "How long a stage of the start took.", "phase=\"%s\"", name),
                took_s);
    LOG_INFO("cli", "stage", LOG_S("name", name), LOG_F("ms", took_s * 1000));
    *since_ns = now_ns;
}

static struct endpoint *find_endpoint(void *ctx, const char *name) {
    struct app *a = ctx;
    for (size_t i = 0; i < a->n_endpoints; i++)
        if (strcmp(a->endpoints[i].name, name) == 0) return a->endpoints[i].endpoint;
    return NULL;
}

static int add_endpoint(struct app *a, const char *name, const struct endpoint_options *options,
                        struct err *e) {
    if (find_endpoint(a, name) != NULL) return 0;
    if (a->n_endpoints == APP_ENDPOINTS_MAX)
        return err__setf(e, ERR_LIMIT, "more than %d endpoints", APP_ENDPOINTS_MAX);
    size_t i = a->n_endpoints++;
    snprintf(a->endpoints[i].name, sizeof a->endpoints[i].name, "%s", name);
    a->endpoints[i].endpoint = governor__endpoint(a->governor, options);
    return a->endpoints[i].endpoint == NULL
               ? err__setf(e, ERR_NOMEM, "endpoint %s: out of memory", name)
               : 0;
}

/* The host of a URL, for the gap between requests to one host. Borrowed until the next call. */
static const char *host_of(const char *url) {
    static char host[256];
    const char *p = strstr(url, "://");
    p = p == NULL ? url : p + 3;
    snprintf(host, sizeof host, "%.*s", (int)strcspn(p, "/"), p);
    return host;
}

static int open_sources(struct app *a, struct err *e) {
    for (size_t i = 0; i < a->n_sources; i++) {
        const struct source_setup *c = &a->settings->sources[i];
        struct app_source *s = &a->sources[i];
        if (!c->enabled) continue;
        s->off_reason = settings__why_off(a->settings, c);
        if (s->off_reason != NULL) {
            LOG_WARN("cli", "source stays quiet", LOG_S("source", c->name),
                     LOG_S("reason", s->off_reason));
            continue;
        }
        struct stream_spec *specs = calloc(STREAMS_MAX, sizeof *specs);
        int n = specs == NULL ? err__setf(e, ERR_NOMEM, "out of memory")
                              : s->type->streams(&c->settings, specs, e);
        struct app_stream *grown =
            n <= 0 ? NULL : realloc(a->streams, (a->n_streams + (size_t)n) * sizeof *grown);
        if (n > 0 && grown == NULL) n = err__setf(e, ERR_NOMEM, "out of memory");
        if (n <= 0) {
            free(specs);
            if (n == 0) continue;
            return n;
        }
        a->streams = grown;
        for (int k = 0; k < n; k++)
            a->streams[a->n_streams++] = (struct app_stream){.app = a,
                                                             .spec = specs[k],
                                                             .type = s->type,
                                                             .source = i,
                                                             .amber_s = c->amber_s,
                                                             .red_s = c->red_s};
        free(specs);
    }
    return 0;
}

/* The vendor's hosts count together: policies of one name are one policy. */
static const char *venue_of(const char *source) {
    static const char *const others[] = {"poe_ninja", "enrichment"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(source, others[i]) == 0) return NULL;
    return "ggg";
}

/* The vendor's API answers HEAD with the state of its limits, and does not count it; its site and
 * its CDN were never asked. */
static bool has_head(const char *source) {
    return strcmp(source, "psapi") == 0 || strcmp(source, "account_stashes") == 0;
}

static int open_endpoint(struct app *a, const struct source_setup *c,
                         const struct stream_spec *spec, struct err *e) {
    struct endpoint_options options = {
        .name = spec->endpoint,
        .host = host_of(spec->base_url == NULL ? c->settings.base_url : spec->base_url),
        .rate_per_s = c->rate_per_s,
        .hidden_first_ns = c->hidden_bucket_ns,
        .hidden_next_ns = c->hidden_bucket_ns > 0 ? 60 * NS_PER_S : 0,
        .key_gap_ns = c->key_gap_ns,
        .venue = venue_of(c->name),
        .use_global_rate = venue_of(c->name) != NULL,
        .head_at_start = has_head(c->name)};
    int code = add_endpoint(a, spec->endpoint, &options, e);
    if (code != 0) return code;
    if (strcmp(c->name, "account_stashes") == 0) { /* Its list has a policy of its own. */
        options.name = "account_stash_list";
        code = add_endpoint(a, options.name, &options, e);
        if (code != 0) return code;
    }
    if (c->settings.seed_url == NULL || c->settings.seed_url[0] == '\0') return 0;
    struct endpoint_options seed = {.name = "trade_data",
                                    .host = host_of(c->settings.seed_url),
                                    .rate_per_s = 0.2,
                                    .venue = venue_of(c->name),
                                    .use_global_rate = true};
    return add_endpoint(a, "trade_data", &seed, e);
}

/* Of a source that this run leaves out: what is known of its limits, and that somebody has paused
 * or killed it, must still be known to the next. */
static int open_endpoints_left_out(struct app *a, const struct source_setup *c, struct err *e) {
    const struct source_type *type = source__find(c->name);
    struct stream_spec *specs = type == NULL ? NULL : calloc(STREAMS_MAX, sizeof *specs);
    int n = specs == NULL ? err__setf(e, ERR_NOMEM, "out of memory")
                          : type->streams(&c->settings, specs, e);
    int code = n < 0 ? n : 0;
    for (int i = 0; i < n && code == 0; i++) code = open_endpoint(a, c, &specs[i], e);
    free(specs);
    return code;
}

static int open_endpoints(struct app *a, struct err *e) {
    int code = 0;
    for (size_t i = 0; i < a->n_streams && code == 0; i++) {
        const struct app_stream *s = &a->streams[i];
        code = open_endpoint(a, settings__source(a->settings, s->type->name), &s->spec, e);
    }
    for (size_t i = 0; i < a->settings->n_sources && code == 0; i++)
        if (a->settings->sources[i].left_out)
            code = open_endpoints_left_out(a, &a->settings->sources[i], e);
    return code;
}

static int open_throttler(struct app *a, struct err *e) {
    const struct config *c = a->settings->config;
    struct throttler_options options = {.http = a->http,
                                        .clock = &a->clock,
                                        .metrics = &a->metrics,
                                        .governor = a->governor,
                                        .url = c->throttler_url,
                                        .key = c->throttler_api_key};
    if (c->throttler_url[0] == '\0') return 0;
    int code = throttler__new(&a->throttler, &options, e);
    if (code != 0) return code;
    throttle__set_throttler(a->throttle, a->throttler);
    http__declare(a->http, "throttler", "permit");
    return 0;
}

void app__poller_deps(struct app *a, struct poller_deps *out) {
    *out =
        (struct poller_deps){.loop = &a->loop,
                             .clock = &a->clock,
                             .metrics = &a->metrics,
                             .governor = a->governor,
                             .http = a->http,
                             .spool = a->spool,
                             .endpoint = find_endpoint,
                             .endpoint_ctx = a,
                             .bearer = app__bearer,
                             .bearer_refused = app__bearer_refused,
                             .bearer_ctx = a,
                             .wall = &a->wall,
                             .body_max = (size_t)a->settings->config->limits.body_mib << 20,
                             .refresh_token = login__refresh_token,
                             .keep_secret = login__keep_secret,
                             .login_ctx = a,
                             .gate = a->throttler == NULL ? NULL : throttler__gate(a->throttler)};
}

static int open_pollers(struct app *a, struct err *e) {
    struct poller_deps deps;
    app__poller_deps(a, &deps);
    for (size_t i = 0; i < a->n_streams; i++) {
        struct app_stream *s = &a->streams[i];
        const struct source_setup *c = settings__source(a->settings, s->type->name);
        int code = poller__open(&s->poller, &deps, s->type, &c->settings, &s->spec, e);
        if (code != 0) return code;
    }
    return 0;
}

char *app__followed(const struct config *c) {
    struct buf b = buf__init(1 << 20);
    for (size_t i = 0; i < c->n_leagues; i++) buf__printf(&b, "%s\n", c->leagues[i]);
    buf__append(&b, "", 1);
    return b.base;
}

/* An alert event's way to disk. */
struct alert_append {
    alerts_synced_cb synced;
    void *data;
};

static void on_alert_synced(void *data, uint64_t lsn, int status) {
    struct alert_append *w = data;
    (void)lsn;
    w->synced(w->data, status);
    free(w);
}

static int append_alert(void *ctx, struct slice json, alerts_synced_cb synced, void *data) {
    struct app *a = ctx;
    struct err e = {0};
    struct alert_append *w = malloc(sizeof *w);
    if (w == NULL || a->spool == NULL) {
        free(w);
        return ERR_UNAVAILABLE;
    }
    *w = (struct alert_append){.synced = synced, .data = data};
    if (spool__append(a->spool, SPOOL_ALERT, 0, &json, 1, on_alert_synced, w, &e) != 0) return 0;
    free(w);
    return e.code;
}

static bool is_ready(void *ctx, struct buf *why) {
    struct app *a = ctx;
    struct spool_status s;
    if (a->draining) buf__append_str(why, "draining");
    else if (!a->recovered) buf__append_str(why, "recovering the spool");
    else {
        spool__status(a->spool, &s);
        bool stuck = s.unsynced_ns >= APP_SYNC_PATIENCE_NS;
        if (!s.failed && !stuck) return true;
        buf__append_str(why, stuck ? "the disk takes nothing" : "the spool cannot write");
    }
    return false;
}

static const char *spool_dir(const struct app *a) {
    static char dir[SPOOL_DIR_MAX]; /* The spool keeps the pointer. */
    snprintf(dir, sizeof dir, "%s/spool", a->settings->config->state_dir);
    return dir;
}

/* The file is checked without the rooms. */
_Static_assert((uint64_t)CONFIG_QUOTA_MIB_MIN << 20 == SPOOL_QUOTA_MIN, "one quota");
_Static_assert((size_t)CONFIG_BODY_MIB_MAX << 20 == DECODE_BODY_MAX, "one bound");

static int open_spool(struct app *a, struct err *e) {
    if (mkdir(a->settings->config->state_dir, 0750) != 0 &&
        access(a->settings->config->state_dir, W_OK) != 0)
        return err__setf(e, ERR_CREATE, "state_dir %s cannot be made or written to",
                         a->settings->config->state_dir);
    struct spool_options options = {
        .dir = spool_dir(a),
        .quota_bytes = (uint64_t)a->settings->config->spool.quota_mib << 20,
        .retain_ns = (int64_t)(a->settings->config->spool.retain_hours * 3600 * (double)NS_PER_S),
        .keep_all = a->settings->config->tape.enabled};
    return spool__open(&a->spool, &a->loop, &a->clock, &a->metrics, &options, e);
}

void app__store_options(const struct config *c, struct store_options *out) {
    size_t n;
    const struct table_desc *const *tables = tables__all(&n);
    *out = (struct store_options){.host = c->clickhouse.host,
                                  .port = (uint16_t)c->clickhouse.port,
                                  .user = c->clickhouse.user,
                                  .password = c->clickhouse.password,
                                  .password_file = c->clickhouse.password_file,
                                  .delivery = c->clickhouse.delivery == CONFIG_AT_LEAST_ONCE
                                                  ? STORE_AT_LEAST_ONCE
                                                  : STORE_EXACTLY_ONCE,
                                  .database = c->clickhouse.database,
                                  .lz4 = c->clickhouse.compression == CONFIG_COMPRESSION_LZ4,
                                  .zstd = c->clickhouse.compression == CONFIG_COMPRESSION_ZSTD,
                                  .hosts = (const char *const *)c->clickhouse.hosts,
                                  .n_hosts = c->clickhouse.n_hosts,
                                  .tls = {.enabled = c->clickhouse.tls.enabled,
                                          .insecure = !c->clickhouse.tls.verify,
                                          .ca_file = c->clickhouse.tls.ca_file,
                                          .server_name = c->clickhouse.tls.server_name},
                                  .refusals = &table_bronze_quarantine,
                                  .tables = tables,
                                  .n_tables = n,
                                  .rows_max = (size_t)c->batch.rows,
                                  .bytes_max = (size_t)c->batch.bytes_mib << 20,
                                  .age_max_ns = c->batch.age_ms * NS_PER_MS};
}

static void on_room(void *ctx) {
    lanes__on_room(ctx);
    tape_lane__wake(ctx);
}

/* A save that waits for the disk. */
struct limits_wait {
    throttle_saved_cb cb;
    void *data;
};

static void on_limits_synced(void *data, uint64_t lsn, int status) {
    struct limits_wait w = *(struct limits_wait *)data;
    (void)lsn;
    free(data);
    w.cb(w.data, status == 0);
}

static bool save_limits(void *ctx, throttle_saved_cb cb, void *data) {
    struct app *a = ctx;
    struct buf payload = buf__init(SPOOL_RECORD_MAX);
    struct limits_wait *w = calloc(1, sizeof *w);
    struct err e;
    governor__save(a->governor, &payload);
    struct slice part = buf__slice(&payload);
    bool ok = w != NULL && !payload.failed;
    if (ok) *w = (struct limits_wait){cb, data};
    ok = ok && spool__append(a->spool, SPOOL_LIMITS, 0, &part, 1, on_limits_synced, w, &e) != 0;
    if (!ok) free(w);
    buf__fini(&payload);
    return ok;
}

/* Many systems allow more descriptors than they give at first, for programs that use select(). */
static void raise_descriptors(int64_t wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= (rlim_t)wanted) return;
    limit.rlim_cur = limit.rlim_max < (rlim_t)wanted ? limit.rlim_max : (rlim_t)wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* The hub bounds itself by what there is. */
}

static int open_hub(struct app *a, struct err *e) {
    const struct config *c = a->settings->config;
    raise_descriptors(c->hub.clients_max + 512);
    if (a->settings->n_tokens == 0 && !c->hub.open_to_local)
        LOG_WARN("cli", "nobody may ask the hub: there is neither hub.tokens_file nor "
                        "hub.open_to_local");
    struct hub_call calls[32];
    if (throttle__new(&a->throttle, &a->clock, save_limits, a) != 0)
        return err__setf(e, ERR_NOMEM, "throttle: out of memory");
    size_t n_calls = throttle__calls(a->throttle, calls);
    n_calls += cursor__calls(a, calls + n_calls);
    n_calls += backfill__calls(a, calls + n_calls);
    n_calls += reload__calls(a, calls + n_calls);
    n_calls += poll_call__calls(a, calls + n_calls);
    n_calls += login__calls(a, calls + n_calls);
    struct hub_options options = {.host = c->hub.host,
                                  .port = (uint16_t)c->hub.port,
                                  .origins = (const char *const *)c->hub.allow_origins,
                                  .n_origins = c->hub.n_allow_origins,
                                  .tokens = a->settings->tokens,
                                  .n_tokens = a->settings->n_tokens,
                                  .open_to_local = c->hub.open_to_local,
                                  .guard_metrics = !c->hub.open_metrics,
                                  .clients_max = (size_t)c->hub.clients_max,
                                  .clients_per_ip_max = (size_t)c->hub.clients_per_address,
                                  .messages_per_s = c->hub.messages_per_s,
                                  .calls = calls,
                                  .n_calls = n_calls,
                                  .ctx = a,
                                  .status_json = app__status_json,
                                  .ready = is_ready,
                                  .before_scrape = app__before_scrape};
    return hub__open(&a->hub, &a->loop, &a->clock, &a->metrics, a->alerts, &options, e);
}

int app__open(struct app *a, struct settings *settings, struct err *e) {
    *a = (struct app){.settings = settings, .n_sources = settings->n_sources, .stored_per_s = -1};
    int64_t since_ns = clock__stopwatch_ns();
    uv_loop_init(&a->loop);
    metrics__init(&a->metrics);
    wall__init(&a->wall, &a->clock, &a->metrics);
    wall__read(&a->wall);
    a->started_wall_ns = a->clock.wall_ns;
    a->started_mono_ns = a->clock.mono_ns;
    init_metrics(a);
    uv_timer_t *timers[] = {&a->second, &a->checkpoint, &a->deadline, &a->begin, &a->patience};
    for (size_t i = 0; i < sizeof timers / sizeof *timers; i++) {
        uv_timer_init(&a->loop, timers[i]);
        timers[i]->data = a;
    }
    uv_idle_init(&a->loop, &a->looking);
    a->looking.data = a;
    for (size_t i = 0; i < a->n_sources; i++) {
        a->sources[i].type = source__find(settings->sources[i].name);
        if (a->sources[i].type == NULL)
            return err__setf(e, ERR_CONFIG, "no source is called %s", settings->sources[i].name);
    }
    const char *names[APP_SOURCES_MAX];
    for (size_t i = 0; i < a->n_sources; i++) names[i] = settings->sources[i].name;
    if (quality__init(&a->quality, &a->metrics, names, a->n_sources) != 0)
        return err__setf(e, ERR_NOMEM, "quality: out of memory");
    a->followed = app__followed(settings->config);
    if (login__open(a, settings->login) != 0)
        return err__setf(e, ERR_NOMEM, "login: out of memory");
    int code = open_sources(a, e);
    if (code == 0 && app__index_streams(a) != 0)
        code = err__setf(e, ERR_NOMEM, "streams: out of memory");
    struct alerts_options alerts = {.ctx = a, .append = append_alert};
    if (code == 0) code = alerts__open(&a->alerts, &a->clock, &a->metrics, &alerts, e);
    if (code == 0) code = guard__open(&a->guard, &a->clock, &a->metrics, a->alerts, e);
    /* Another souk on the same state holds the port too; that it is one is the better answer. */
    if (code == 0) code = spool__check_lock(spool_dir(a), e);
    /* A port in use must be known before anything else is touched. */
    if (code == 0) code = open_hub(a, e);
    if (code == 0) stage_done(a, "hub", &since_ns);
    if (code == 0) code = open_spool(a, e);
    if (code == 0) stage_done(a, "spool", &since_ns);
    struct governor_options limits = {.seed = (uint64_t)a->started_wall_ns,
                                      .boot_id = clock__boot_id(),
                                      .host_gap_ns =
                                          settings->config->limits.host_gap_ms * NS_PER_MS,
                                      .global_rate_per_s = settings->config->limits.vendor_per_s};
    if (code == 0)
        code = governor__open(&a->governor, &a->loop, &a->clock, &a->metrics, &limits, e);
    if (code == 0) throttle__start(a->throttle, a->governor);
    if (code == 0) code = open_endpoints(a, e);
    struct http_options http = {.user_agent = settings->config->user_agent};
    if (code == 0) code = http__open(&a->http, &a->loop, &a->clock, &a->metrics, &http, e);
    for (size_t i = 0; code == 0 && i < a->n_sources; i++) {
        http__declare(a->http, settings->sources[i].name, "tail");
        if (settings->sources[i].settings.seed_url[0] != '\0')
            http__declare(a->http, settings->sources[i].name, "metadata");
    }
    struct store_options store;
    app__store_options(settings->config, &store);
    store.wall = &a->wall;
    if (code == 0)
        code = store__open(&a->store, &a->loop, &a->clock, &a->metrics, a->spool, &store, e);
    if (code == 0) store__on_room(a->store, on_room, a);
    if (code == 0) code = open_throttler(a, e);
    if (code == 0) code = open_pollers(a, e);
    if (code == 0 && (ops__open(a) != 0 || backfill__open(a) != 0 || reload__open(a) != 0))
        code = err__setf(e, ERR_NOMEM, "ops, backfill, reload: out of memory");
    if (code == 0) code = app__recover(a, e);
    if (code == 0) stage_done(a, "recovery", &since_ns);
    a->recovered = code == 0;
    return code;
}
