/* Metrics of requests: one set of series for each pair of source and class. */
#include "http_internal.h"
#include <stdio.h>

/* Statuses first, then the kinds of http_response.err_kind. */
static const char *const codes[HTTP_CODES] = {
    "1xx", "2xx",   "3xx",       "4xx",       "5xx",      "429",      "timeout", "connect", "tls",
    "dns", "reset", "truncated", "too_large", "encoding", "protocol", "nomem",   "canceled"};
enum { CODE_429 = 5, CODE_KINDS = 6 };

static void make_series(struct http *h, struct http_stats *s) {
    for (size_t i = 0; i < HTTP_CODES; i++)
        s->codes[i] = metrics__counter(h->metrics, "souk_http_requests_total",
                                       "Requests completed, by status class or kind of failure.",
                                       "source=\"%s\",class=\"%s\",code=\"%s\"", s->source,
                                       s->class_name, codes[i]);
    s->seconds = metrics__histogram(h->metrics, "souk_http_request_seconds",
                                    "Time from the start of a request to its completion.",
                                    "source=\"%s\",class=\"%s\"", s->source, s->class_name);
    s->bytes =
        metrics__counter(h->metrics, "souk_http_response_bytes_total",
                         "Bytes of response bodies on the wire.", "source=\"%s\"", s->source);
    s->inflight = metrics__gauge(h->metrics, "souk_http_inflight", "Requests in flight.",
                                 "venue=\"%s\"", s->source);
}

struct http_stats *stats__get(struct http *h, const char *source, const char *class_name) {
    char source_label[48], class_label[48];
    metric__label(slice__str(source == NULL ? "other" : source), source_label, sizeof source_label);
    metric__label(slice__str(class_name == NULL ? "other" : class_name), class_label,
                  sizeof class_label);
    for (size_t i = 0; i < h->n_stats; i++)
        if (strcmp(h->stats[i].source, source_label) == 0 &&
            strcmp(h->stats[i].class_name, class_label) == 0)
            return &h->stats[i];
    /* The last place is kept for what comes beyond the bound. */
    bool last = h->n_stats >= HTTP_LABELS_MAX - 1;
    if (h->n_stats == HTTP_LABELS_MAX) return &h->stats[HTTP_LABELS_MAX - 1];
    struct http_stats *s = &h->stats[h->n_stats++];
    snprintf(s->source, sizeof s->source, "%s", last ? "other" : source_label);
    snprintf(s->class_name, sizeof s->class_name, "%s", last ? "other" : class_label);
    make_series(h, s);
    return s;
}

void http__declare(struct http *h, const char *source, const char *class_name) {
    stats__get(h, source, class_name);
}

static size_t code_of(const struct http_response *resp) {
    if (resp->err.code == 0) {
        if (resp->status == 429) return CODE_429;
        return resp->status < 200 ? 0 : (size_t)(resp->status / 100 - 1);
    }
    for (size_t i = CODE_KINDS; i < HTTP_CODES; i++)
        if (strcmp(codes[i], resp->err_kind) == 0) return i;
    return CODE_KINDS; /* Not reached: every kind is in the table. */
}

void stats__count(struct http_exchange *x) {
    const struct http_response *resp = &x->response;
    series__inc(x->stats->codes[code_of(resp)]);
    series__observe(x->stats->seconds,
                    (double)(resp->done_mono_ns - x->start_mono_ns) / (double)NS_PER_S);
    series__add(x->stats->bytes, (double)resp->wire_bytes);
    series__add(x->stats->inflight, -1);
}
