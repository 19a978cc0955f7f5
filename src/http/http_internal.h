/* What the files of this room share.
 *
 * client.c runs libcurl on the loop and moves exchanges from waiting to running to finished;
 * exchange.c is one request: its options, what its callbacks collect, what its result means;
 * stats.c counts. */
#ifndef SOUK_HTTP_INTERNAL_H
#define SOUK_HTTP_INTERNAL_H

#include "souk/http.h"
#include <curl/curl.h>
#include <sys/queue.h>

struct header_span {
    uint32_t name, name_len, value, value_len; /* In exchange.head. */
};

enum exchange_state { EXCHANGE_WAITING, EXCHANGE_RUNNING, EXCHANGE_FINISHED };

struct http_exchange {
    TAILQ_ENTRY(http_exchange) link; /* In the list of its state. */
    enum exchange_state state;
    bool canceled;
    struct http *http;            /* Borrowed. */
    struct http_request *request; /* Borrowed, until it is called back. */
    struct http_stats *stats;     /* Borrowed. */
    CURL *easy;
    struct curl_slist *lines; /* Request headers. */
    bool is_head;
    bool headers_done;      /* Of the final response. */
    const char *abort_kind; /* Why one of our callbacks ended the transfer; NULL when none did. */
    const char *abort_text;
    struct buf head; /* Names and values of response headers. */
    struct header_span spans[HTTP_HEADERS_MAX];
    struct http_header headers[HTTP_HEADERS_MAX];
    int64_t start_mono_ns;
    struct http_response response;
    char curl_text[CURL_ERROR_SIZE];
    char where[160]; /* Method and URL without its query, which may hold secrets. */
};
TAILQ_HEAD(exchange_list, http_exchange);

enum { HTTP_CODES = 17 }; /* Values of the label code. */

struct http_stats {
    char source[48], class_name[48];
    struct series *codes[HTTP_CODES], *seconds, *bytes, *inflight;
};

struct http {
    uv_loop_t *loop;           /* Borrowed. */
    const struct clock *clock; /* Borrowed. */
    struct metrics *metrics;   /* Borrowed. */
    CURLM *multi;
    char *user_agent, *ca_file; /* Owned. */
    long low_speed_s;
    uv_timer_t timer; /* libcurl's. */
    uv_idle_t work;   /* Runs once a turn while something waits to be done outside of libcurl. */
    bool timeout_due; /* libcurl asked to be called at once. */
    bool any_canceled;
    bool closing;
    size_t n_handles; /* Open libuv handles, polls included. */
    size_t n_inflight;
    struct exchange_list waiting, running, finished;
    struct http_stats stats[HTTP_LABELS_MAX];
    size_t n_stats;
    void (*close_cb)(void *data);
    void *close_data;
};

/** Makes the exchange of @r, ready to be added to the multi. @return 0 or a code with @e filled. */
int exchange__new(struct http_exchange **out, struct http *h, struct http_request *r,
                  struct err *e);
void exchange__free(struct http_exchange *x);
/** Fills the response of @x from libcurl's @result. */
void exchange__settle(struct http_exchange *x, CURLcode result);
/** Makes @x's response that of a canceled request. */
void exchange__settle_canceled(struct http_exchange *x);

/** @return the series of a pair of labels, made when new; beyond the bound, those of "other". */
struct http_stats *stats__get(struct http *h, const char *source, const char *class_name);
/** Counts a finished exchange. */
void stats__count(struct http_exchange *x);

#endif
