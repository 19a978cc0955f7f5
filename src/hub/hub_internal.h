/* What the files of the hub share. */
#ifndef SOUK_HUB_INTERNAL_H
#define SOUK_HUB_INTERNAL_H

#include "session.h"
#include "souk/hub.h"
#include "souk/web.h"

#define HUB_TOKENS_MAX 16
#define HUB_ORIGINS_MAX 16
#define HUB_PASSES_MAX 256
#define HUB_TICKET_NS (30 * NS_PER_S)
#define HUB_COOKIE_NS (12 * 3600 * NS_PER_S)
#define HUB_BODY_MAX ((size_t)32 << 20)

/** A ticket (once, 30 s) or a cookie session (12 h). */
struct hub_pass {
    char id[33];
    bool is_cookie;
    struct principal who;
    int64_t until_mono_ns; /* 0: free place. */
};

struct hub_secret {
    unsigned char digest[32]; /* SHA-256 of the token. */
    struct principal who;
};

struct hub {
    uv_loop_t *loop;
    const struct clock *clock;
    struct metrics *metrics;
    struct alerts *alerts;
    struct web *web;
    struct sessions sessions;
    uv_timer_t timer;
    struct hub_options options; /* Its arrays are copied below, or borrowed for good. */
    struct hub_secret secrets[HUB_TOKENS_MAX];
    size_t n_secrets;
    char *origins[HUB_ORIGINS_MAX]; /* Owned. */
    size_t n_origins;
    struct hub_pass passes[HUB_PASSES_MAX];
    size_t next_pass;
    struct series *m_scrape;
    struct bound_call *calls; /* Owned. */
    bool closing;
    int n_open; /* Web and timer, until closed. */
    hub_close_cb close_cb;
    void *close_data;
};

/* hub_auth.c */
/** Who asks. @return false when the request was answered with 403. */
bool hub__identify(struct hub *h, struct web_request *r, struct principal *who);
/** As above, and answers 401 or 403 when the scope is missing. */
bool hub__authorize(struct hub *h, struct web_request *r, bool write, struct principal *who);
/** Makes a ticket or cookie for @who. @return its text, or NULL. */
const char *hub__issue(struct hub *h, const struct principal *who, bool is_cookie);
bool hub__redeem(void *hub, struct slice ticket, struct principal *out);
int hub__take_tokens(struct hub *h, const struct hub_options *o, struct err *e);

/* hub_api.c, hub_stream.c, hub_assets.c: routes. */
void hub__route_api(struct hub *h);
void hub__route_stream(struct hub *h);
void hub__route_assets(struct hub *h);
/** hub_calls.c. @return 0 or ERR_NOMEM. */
int hub__route_calls(struct hub *h);

#endif
