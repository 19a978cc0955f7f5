/* The hub's life: listens, ticks, says bye. */
#include "hub_internal.h"
#include "souk/core/log.h"
#include <assert.h>
#include <stdlib.h>

/* Whoever cannot connect cannot see why; whoever is connected can. */
static void watch_descriptors(struct hub *h) {
    bool is_short = web__is_short_of_descriptors(h->web);
    static const struct alert_label label = {"service", "hub"};
    static const struct alert_signal signal = {
        .class = "descriptors_short",
        .sev = ALERT_WARNING,
        .title = "Descriptors are short: the hub refuses connections",
        .body = "Few of the descriptors that this process may have are free; the rest is kept for "
                "the log, ClickHouse and the upstreams. Lower hub.clients_max, or raise the limit "
                "(ulimit -n, LimitNOFILE=).",
        .runbook = "/runbook#descriptors_short",
        .labels = &label,
        .n_labels = 1};
    if (is_short && !h->told_short) alerts__raise(h->alerts, &signal);
    if (!is_short && h->told_short) alerts__clear(h->alerts, signal.class, &label, 1);
    h->told_short = is_short;
}

static void on_flushed(void *data) { sessions__flushed(&((struct hub *)data)->sessions); }

static void on_timer(uv_timer_t *timer) {
    struct hub *h = timer->data;
    sessions__tick(&h->sessions);
    watch_descriptors(h);
}

static void free_strings(struct hub *h) {
    for (size_t i = 0; i < h->n_origins; i++) free(h->origins[i]);
}

static void part_closed(struct hub *h) {
    if (--h->n_open > 0) return;
    hub_close_cb cb = h->close_cb;
    void *data = h->close_data;
    sessions__fini(&h->sessions);
    free_strings(h);
    free(h->calls);
    free(h);
    if (cb != NULL) cb(data);
}

static void on_web_closed(void *data) { part_closed(data); }
static void on_timer_closed(uv_handle_t *handle) { part_closed(handle->data); }

static int open_web(struct hub *h, const struct hub_options *o, struct err *e) {
    struct web_options web = {
        .host = o->host != NULL ? o->host : "127.0.0.1",
        .port = o->port,
        .hosts = o->hosts,
        .n_hosts = o->n_hosts,
        .clients_max = o->clients_max > 0 ? o->clients_max : 2000,
        .clients_per_ip_max = o->clients_per_ip_max > 0 ? o->clients_per_ip_max : 64,
        .handshakes_per_s = o->handshakes_per_s > 0 ? o->handshakes_per_s : 10};
    return web__open(&h->web, h->loop, h->clock, h->metrics, &web, e);
}

int hub__open(struct hub **out, uv_loop_t *loop, const struct clock *clock, struct metrics *metrics,
              struct alerts *alerts, const struct hub_options *options, struct err *e) {
    *out = NULL;
    struct hub *h = calloc(1, sizeof *h);
    if (h == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    h->loop = loop;
    h->clock = clock;
    h->metrics = metrics;
    h->alerts = alerts;
    h->options = *options;
    if (h->options.assets == NULL) {
        h->options.assets = hub_assets;
        h->options.n_assets = hub_n_assets;
    }
    for (size_t i = 0; i < options->n_origins && i < HUB_ORIGINS_MAX; i++)
        h->origins[h->n_origins++] = strdup(options->origins[i]);
    struct hub_tokens_change none;
    int code = hub__set_tokens(h, options->tokens, options->n_tokens, &none, e);
    if (code == 0) code = open_web(h, options, e);
    if (code != 0) {
        free_strings(h);
        free(h);
        return err__prefixf(e, "hub");
    }
    h->m_scrape = metrics__histogram(metrics, "souk_hub_scrape_seconds",
                                     "Time to write an answer to /metrics", "%s", "");
    sessions__init(&h->sessions, alerts, clock, metrics);
    hub__init_passes(h);
    web__on_flushed(h->web, on_flushed, h);
    if (options->messages_per_s > 0) h->sessions.messages_per_s = options->messages_per_s;
    h->sessions.redeem = hub__redeem;
    h->sessions.ctx = h;
    h->timer.data = h;
    uv_timer_init(loop, &h->timer);
    uv_timer_start(&h->timer, on_timer, 250, 250);
    h->n_open = 2;
    hub__route_api(h);
    hub__route_stream(h);
    if (hub__route_calls(h) != 0) LOG_ERROR("hub", "no memory for calls of other rooms");
    hub__route_assets(h);
    *out = h;
    return 0;
}

uint16_t hub__port(const struct hub *h) { return web__port(h->web); }
size_t hub__n_clients(const struct hub *h) { return h->sessions.n_live; }

void hub__close(struct hub *h, hub_close_cb cb, void *data) {
    assert(!h->closing);
    h->closing = true;
    h->close_cb = cb;
    h->close_data = data;
    sessions__bye(&h->sessions, "shutdown");
    uv_close((uv_handle_t *)&h->timer, on_timer_closed);
    web__close(h->web, on_web_closed, h);
}
