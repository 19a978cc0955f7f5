/* What the files of the hub share. */
#ifndef SOUK_HUB_INTERNAL_H
#define SOUK_HUB_INTERNAL_H

#include "session.h"
#include "souk/hub.h"
#include "souk/web.h"

#define HUB_ORIGINS_MAX 16
#define HUB_TICKETS_MAX 256
#define HUB_TICKETS_EACH 16 /* Of one address, and of one token. */
#define HUB_SESSIONS_MAX 1024
#define HUB_SESSIONS_EACH 64 /* Of one token: with as many tokens as there can be, all fit. */
#define HUB_TICKET_NS (30 * NS_PER_S)
#define HUB_COOKIE_NS (12 * 3600 * NS_PER_S)
#define HUB_BODY_MAX ((size_t)32 << 20)

/** A ticket (once, 30 s) or a cookie session (12 h). */
struct hub_pass {
    char id[33], address[48]; /* Of whoever asked for it. */
    struct principal who;
    int64_t until_mono_ns; /* Not later than now: a free place. */
};

/** Passes of one kind. A full table, or share of one, refuses: nobody's pass ends for another's. */
struct hub_passes {
    struct hub_pass *at; /* Of the hub. */
    size_t max, each_token, each_address;
    int64_t life_ns;
    struct series *m_held, *m_refused;
};

struct hub_secret {
    unsigned char digest[32]; /* SHA-256 of the token. */
    struct principal who;     /* Its token: the number it got when it was first read. */
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
    uint64_t last_token;            /* Numbers are not given twice. */
    char *origins[HUB_ORIGINS_MAX]; /* Owned. */
    size_t n_origins;
    struct hub_pass ticket_places[HUB_TICKETS_MAX], session_places[HUB_SESSIONS_MAX];
    struct hub_passes tickets, cookies;
    struct series *m_scrape;
    struct bound_call *calls; /* Owned. */
    bool told_short;          /* Of descriptors. */
    bool closing;
    int n_open; /* Web and timer, until closed. */
    hub_close_cb close_cb;
    void *close_data;
};

/* hub_auth.c */
/** Says how many passes there may be. */
void hub__init_passes(struct hub *h);
/** Brings the gauges up to date. */
void hub__count_passes(struct hub *h);
/** @return false when @r is of a page that may not ask, and was answered with 403. */
bool hub__is_from_allowed_page(struct hub *h, struct web_request *r);
/** Who asks. @return false when the request was answered with 403. */
bool hub__identify(struct hub *h, struct web_request *r, struct principal *who);
/** As above, and answers 401 or 403 when the scope is missing. */
bool hub__authorize(struct hub *h, struct web_request *r, bool write, struct principal *who);
/** Makes a ticket or cookie for @who. @return its text, or NULL when @r was answered with why not.
 */
const char *hub__issue(struct hub *h, struct web_request *r, const struct principal *who,
                       struct hub_passes *passes);
/** @return @who's session: the one that @r brings along as a cookie, or a new one, and what @r
 * brought along ends if it is another's; NULL when @r was answered with why not. */
const char *hub__session_of(struct hub *h, struct web_request *r, const struct principal *who);
bool hub__redeem(void *hub, struct slice ticket, struct principal *out);

/* hub_api.c, hub_stream.c, hub_assets.c: routes. */
void hub__route_api(struct hub *h);
void hub__route_stream(struct hub *h);
void hub__route_assets(struct hub *h);
/** hub_calls.c. @return 0 or ERR_NOMEM. */
int hub__route_calls(struct hub *h);

#endif
