/* Hub: the HTTP server of souk: metrics, health, status, the alert stream over WebSocket and SSE,
 * commands, and the dashboard's files.
 *
 *     GET  /-/healthy /-/ready                                 open to whoever reaches the port
 *     GET  /metrics                                                  open, or read
 *     GET  /api/v1/status (/status.json) /api/v1/alerts?status=      read
 *     GET  /ws/alerts (/ws)  /sse/alerts (/sse)?since=epoch:off      read
 *     POST /api/v1/alerts/{id}/ack|snooze|… with Idempotency-Key     write
 *     POST /api/v1/ws-ticket                                         read
 *     GET  / and the assets
 *
 * Who may: whoever brings a token (`Authorization: Bearer`, or, on the socket, a ticket in hello),
 * and, if the options say so, programs on this machine that no proxy speaks for. A browser tells
 * where a page came from: that must be our own host or an allowed origin, and without an Origin
 * Sec-Fetch-Site must not say that the page is another's. Unknown Host: 421, which stops DNS
 * rebinding. Reading is not commanding, and reporting is commanding. */
#ifndef SOUK_HUB_H
#define SOUK_HUB_H

#include "souk/alerts.h"
#include <uv.h>

#define HUB_TOKENS_MAX 16
#define HUB_TOKEN_NAME_MAX 63 /* Bytes. */

/** A bearer token. Borrowed for the call only; never logged. No two have one name, or are one
 * token. */
struct hub_token {
    const char *name;  /* Principal: who acked, and whose idempotency keys. */
    const char *token; /* At least 16 characters. */
    bool write;        /* alerts:write besides alerts:read and ops:read. */
};

/** A file that is served from memory. */
struct hub_asset {
    const char *path, *type,
        *etag; /* /app.js, text/javascript; charset=utf-8, "hash" with quotes. */
    const unsigned char *bytes;
    size_t len;
    const unsigned char *gz; /* The same, gzip; NULL when that is not shorter. */
    size_t gz_len;
};
/** The dashboard, embedded at build time. */
extern const struct hub_asset hub_assets[];
extern const size_t hub_n_assets;

/** What a call was asked with. Borrowed for the call. */
struct hub_args;
struct hub_reply;
/** @return the length of the query parameter @name, decoded into @out; negative when it is missing,
 *  not decodable or too long. */
int hub_args__text(const struct hub_args *args, const char *name, char *out, size_t size);
/** @return false when the request has no more than @i headers. */
bool hub_args__header(const struct hub_args *args, size_t i, struct slice *name,
                      struct slice *value);
/** @return who asks, by the name of the token. */
const char *hub_args__who(const struct hub_args *args);
/** For an answer that comes after the call. @return what hub_reply__send takes, NULL without
 * memory.
 */
struct hub_reply *hub_args__later(const struct hub_args *args);
/** @return whether somebody still waits for it. */
bool hub_reply__is_awaited(const struct hub_reply *reply);
/** Answers with @status and the JSON document @body, if somebody still waits, and frees @reply. */
void hub_reply__send(struct hub_reply *reply, int status, struct slice body);
/** A call of another room: @fn appends a JSON document and returns the HTTP status, or 0 when the
 *  answer comes later. */
struct hub_call {
    const char *method, *path; /* Static. GET or POST. */
    bool write;                /* Needs the scope to change things; else to read. */
    int (*fn)(void *ctx, const struct hub_args *args, struct buf *out);
    void *ctx;
};

struct hub_options {
    const char *host;         /* Address to listen on. NULL: 127.0.0.1. */
    uint16_t port;            /* 0: any free one, see hub__port. */
    const char *const *hosts; /* Further names that Host may have, without port. */
    size_t n_hosts;
    const char *const *origins; /* Exact, e.g. http://127.0.0.1:9000. Our own is always allowed. */
    size_t n_origins;
    const struct hub_token *tokens;
    size_t n_tokens;
    const struct hub_asset *assets; /* NULL: the embedded ones. Borrowed for good. */
    size_t n_assets;
    bool open_to_local;        /* Programs on this machine need no token, and may change things. */
    bool guard_metrics;        /* /metrics needs what reading needs. */
    size_t clients_max;        /* Connections. 0: 2,000; fewer where descriptors are limited. */
    size_t clients_per_ip_max; /* 0: 64. */
    double handshakes_per_s;   /* WebSocket handshakes of one address. 0: 10. */
    double messages_per_s;     /* Of one client of the stream, in bursts of 4 s' worth. 0: 5. */

    const struct hub_call *calls; /* Copied. */
    size_t n_calls;

    void *ctx; /* For the callbacks below; each may be NULL. */
    void (*status_json)(void *ctx, struct buf *out); /* Appends the object of /api/v1/status. */
    bool (*ready)(void *ctx, struct buf *why);       /* False: appends why not, in words. */
    void (*before_scrape)(void *ctx);                /* Brings gauges up to date. */
};

struct hub;
typedef void (*hub_close_cb)(void *data);

/** Listens. Options are copied unless said otherwise; @clock, @metrics, @alerts are borrowed and
 *  outlive the hub. The owner sets @clock each turn of the loop before handlers run.
 *  @return 0; UV_EADDRINUSE, UV_EACCES … with host and port named; ERR_CONFIG. */
int hub__open(struct hub **out, uv_loop_t *loop, const struct clock *clock, struct metrics *metrics,
              struct alerts *alerts, const struct hub_options *options, struct err *e);
struct hub_tokens_change {
    size_t n_new, n_gone; /* Tokens; one whose name or rights changed is both. */
    size_t n_ended;       /* Sessions, tickets and connections of those that are gone. */
};
/** From now on these tokens count, and no others: all that was given for one that is gone, was
 *  renamed or may no longer change things ends: cookie sessions, tickets, and streams (Close 4401).
 *  What it had commanded stands. @return 0; ERR_CONFIG, and nothing is changed. */
int hub__set_tokens(struct hub *h, const struct hub_token *tokens, size_t n,
                    struct hub_tokens_change *change, struct err *e);
/** @return the port it listens on. */
uint16_t hub__port(const struct hub *h);
/** @return how many clients follow the stream now (WebSocket and SSE, after hello). */
size_t hub__n_clients(const struct hub *h);
/** Stops listening, says bye and Close 1001 to clients, gives them
 *  5 s, cuts the rest, frees @h and calls @cb, once. Within the process's drain. */
void hub__close(struct hub *h, hub_close_cb cb, void *data);

#endif
