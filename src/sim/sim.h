/* The simulated upstreams as one object: requests in, replies out, no sockets and no clock of its
 * own. main.c joins it to a server and the time; tests call sim__handle() with a clock set by hand.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "judge/fault.h"
#include "judge/ledger.h"
#include "judge/limiter.h"
#include "options.h"
#include "wire/http_server.h"
#include "world/river.h"

enum sim_realm { REALM_PC, REALM_XBOX, REALM_SONY, N_REALMS };
enum sim_route {
    ROUTE_PSAPI,
    ROUTE_CHANGE_IDS,
    ROUTE_OAUTH,
    ROUTE_AUTHORIZE,
    ROUTE_REVOKE,
    ROUTE_NINJA,
    ROUTE_CX_CDN,
    ROUTE_CX,
    ROUTE_STASH,
    ROUTE_LEAGUE,
    ROUTE_LEAGUES,
    ROUTE_TRADE_DATA,
    ROUTE_TRADE_GATEWAY,
    ROUTE_ENRICHMENT,
    ROUTE_CONTROL,
    ROUTE_OTHER,
    N_ROUTES
};
enum { NINJA_ASKED_MAX = 512, LOGIN_CODES_MAX = 16, LOGINS_MAX = 64 };

/** When an overview was last given to the client. */
struct ninja_asked {
    uint64_t key;
    int64_t at_ns;
};
/** The recorded overviews of --replay, by the type that the paths name, and the other recorded
 * bodies of replay.h. */
struct ninja_recorded {
    char path[12], type[32]; /* "exchange" or "item" or "currency"; or of replay__load_bodies. */
    struct body *body;
};
/** A bound on an upstream that announces none: at most @max requests in any 0.95 s. */
struct pace {
    const char *policy; /* For the log of violations. Static. */
    int max;            /* At most 4. */
    int64_t at_ns[4];   /* The last ones, newest first. */
    int n;
};
/** A code that a browser was sent away with: good once, for the client that proves by its verifier
 * that it began (RFC 7636). */
struct login_code {
    char code[17], challenge[44], redirect[256], client[128];
    unsigned mask;
    int64_t until_ns; /* Wall time; 0: none here. */
};
/** A login of this run. Its refresh tokens have a generation each, and only the newest is good. */
struct login {
    uint64_t id;
    uint32_t generation;
    bool revoked;
};
struct sim {
    const struct options *o; /* Borrowed. */
    struct sim_clock clock;  /* Set by the owner before each call. */
    struct river rivers[N_REALMS];
    bool river_open[N_REALMS]; /* Made when first asked for, to keep the start short. */
    struct limiter psapi[N_REALMS], trade_data, oauth;
    struct limiter cx, stash_list, stash, leagues;
    struct limiter invalid; /* Answers 4xx of the vendor's hosts that no fault made. */
    struct pace cdn, poedb, wiki;
    struct ledger ledger;
    struct faults faults;
    bool frozen;
    int64_t ninja_start_ns; /* Wall time of build 0. */
    int64_t frozen_build;   /* The build that a freeze holds. */
    int64_t frozen_wall_ns; /* The time that a freeze holds for what follows the hours. */
    int64_t ninja_last_ns;  /* The last request; -1 before the first. */
    struct ninja_asked ninja_asked[NINJA_ASKED_MAX];
    size_t n_ninja_asked;
    struct ninja_recorded *recorded;
    size_t n_recorded;
    struct login_code codes[LOGIN_CODES_MAX]; /* The oldest gives way. */
    struct login logins[LOGINS_MAX];          /* The same. */
    size_t n_codes, n_logins;
    uint64_t n_requests[N_ROUTES], n_violations[N_ROUTES], n_tokens, n_empty_pages, n_not_modified;
    bool stop_wanted; /* POST /_sim/stop came: the owner ends soon. */
};

/** Open the state folder and read back what was. @return 0, or -1 with why. */
int sim__init(struct sim *s, const struct options *o, struct sim_clock now, struct sim_err *e);
/** Flush the ledger and free everything. */
void sim__fini(struct sim *s);
/** Answer @q into the zeroed @r. When @r->done is set it must be called once. */
void sim__handle(struct sim *s, const struct http_request *q, struct reply *r);

/* Between the files of this object. */

/** Fill @r with JSON text and a status. */
void reply_json(struct reply *r, int status, const char *json, size_t n);
/** Fill @r with the vendor's error body. */
void reply_error(struct reply *r, int status, int code, const char *message);
/** Fill @r with a page for people. */
void reply_html(struct reply *r, int status, const char *html);
/** Count a request against @l. @return whether it may go on; otherwise @r is a 429 and the breach
 * is logged. */
bool pass_limiter(struct sim *s, struct limiter *l, const struct http_request *q, struct reply *r);
/** The same for an upstream that announces nothing and answers a bare page. */
bool pass_pace(struct sim *s, struct pace *p, const struct http_request *q, struct reply *r);
/** @return whether @q is a GET or HEAD; else @r is a 405. */
bool pass_method(const struct http_request *q, struct reply *r);
/** @return whether the caller names itself as the vendor asks; else @r is a 403. */
bool pass_agent(const struct http_request *q, struct reply *r);
/** The same, and with --require-token a token that holds and has @scope: else @r is 401 or 403. */
bool pass_identity(const struct sim *s, const struct http_request *q, const char *scope,
                   struct reply *r);
/** Answer a HEAD with the state of @l, which does not count; more than one
 * in 60 s is a violation. @return whether @q was a HEAD. */
bool answer_head(struct sim *s, struct limiter *l, const struct http_request *q, struct reply *r);
/** Put @wrong or half of itself into the place of a good JSON reply, if @f wants that. @return
 * whether it did: then nothing may be promised. */
bool spoil_json(const struct fault *f, struct reply *r, const char *wrong);
/** Take the text of @b as a good JSON answer, and fini @b. */
void reply_text(struct reply *r, int status, struct buf *b);
/** Spend a fault on @target, if one waits, and apply what needs no content. @return whether @r is
 * complete. Else @f tells what the content must still suffer; its kind is FAULT_N_KINDS when
 * nothing. */
bool meet_fault(struct sim *s, const char *target, struct reply *r, struct fault *f);
/** Remember what @r serves, so that the ledger gets it when the last byte is out. Takes references
 * of its own. */
void promise_page(struct sim *s, struct reply *r, int realm, size_t index);
void promise_ninja(struct sim *s, struct reply *r, const char *league, const char *type,
                   struct body *body);
/** The same for r->body of another source: @kind is of enum ledger_kind, and @a and @b what its
 * rows need beside the body (ledger.h). */
void promise_body(struct sim *s, struct reply *r, int kind, const char *a, const char *b);
void handle_psapi(struct sim *s, const struct http_request *q, struct reply *r, int realm);
void handle_change_ids(struct sim *s, const struct http_request *q, struct reply *r);
void handle_oauth(struct sim *s, const struct http_request *q, struct reply *r);
/** The page that asks the user, and where it sends the browser. */
void handle_authorize(struct sim *s, const struct http_request *q, struct reply *r);
void handle_revoke(struct sim *s, const struct http_request *q, struct reply *r);
/** A token request by a code or a refresh token, from the client @id. */
void grant_login(struct sim *s, const struct http_request *form, const char *grant, const char *id,
                 struct reply *r);
/** @return whether the tokens of the login @id were revoked. */
bool login__is_revoked(const struct sim *s, uint64_t id);
/** Read a list of scopes. @return false when it names one that does not exist. */
bool scopes__read(const char *list, const char *between, unsigned *out);
/** @return which scopes --scopes grants. */
unsigned scopes__granted(const struct sim *s);
/** @return the bit of a scope's name; 0 when there is no such scope. */
unsigned scopes__bit(const char *name);
/** @return what only this simulator makes of a token's facts. */
uint64_t token__seal(const struct sim *s, uint64_t id, int64_t end_s, unsigned mask);
void reply_oauth_error(struct reply *r, int status, const char *code, const char *why);
/** Answer with an access token of @id for @mask, and @refresh unless it is NULL. */
void reply_token(struct sim *s, uint64_t id, unsigned mask, const char *user, const char *refresh,
                 struct reply *r);
/** Look at id and secret; an empty secret is a public client's. @return whether they are right. */
bool pass_client(const struct sim *s, const char *id, const char *secret, struct reply *r);
/** @end is the path behind /poe1/api/economy. */
void handle_ninja(struct sim *s, const struct http_request *q, struct span end, struct reply *r);
void handle_cx(struct sim *s, const struct http_request *q, struct span rest, bool cdn,
               struct reply *r);
void handle_stash(struct sim *s, const struct http_request *q, struct span rest, struct reply *r);
void handle_league(struct sim *s, const struct http_request *q, struct reply *r);
void handle_leagues(struct sim *s, const struct http_request *q, struct reply *r);
void handle_trade_data(struct sim *s, const struct http_request *q, struct span rest,
                       struct reply *r);
void handle_trade_gateway(struct sim *s, const struct http_request *q, struct span rest,
                          struct reply *r);
void handle_enrichment(struct sim *s, const struct http_request *q, struct reply *r);
void handle_control(struct sim *s, const struct http_request *q, struct reply *r);
/** @return the river of @realm, made at the first call; NULL with why. */
struct river *sim__river(struct sim *s, int realm, struct sim_err *e);
/** Stop or resume new data everywhere. */
void sim__freeze(struct sim *s, bool on);
/** @return the number of the poe.ninja build that is current. */
int64_t sim__build(const struct sim *s);
/** @return the time that decides what exists by now, UTC: it stands still while frozen. */
int64_t sim__content_ns(const struct sim *s);
/** @return the number of the realm of that name; -1 when there is none. */
int sim__realm(const char *name);
/** @return whether that source, psapi or poe_ninja, is answered: in a replay only from recorded
 * bodies. */
bool sim__serves(const struct sim *s, const char *source);
/** Say in a line which sources a replay has recorded bodies of, which are simulated beside them,
 * and which are not answered. */
void sim__tell_recorded(const struct sim *s, struct buf *out);
/** @return the recorded body of that path and type with a reference more, or NULL. */
struct body *sim__recorded(const struct sim *s, const char *path, const char *type);
/** @return whether @name is one of --leagues. */
bool sim__has_league(const struct sim *s, const char *name);
extern const char *const realm_names[N_REALMS];
extern const char *const route_names[N_ROUTES];

#endif
