/* Sources: one file an upstream, pure functions only. They say what to ask next (plan), what an
 * answer means for the cursor (judge), and turn a page into rows (decode). The poller alone does
 * I/O, so a body in a file is all that a test needs.
 *
 * judge and decode run on the thread pool: they touch nothing but their arguments. */
#ifndef SOUK_SOURCE_H
#define SOUK_SOURCE_H

#include "souk/core/batch.h"
#include "souk/core/buf.h"
#include "souk/core/clock.h"
#include "souk/core/err.h"
#include "souk/core/slice.h"

#define CURSOR_MAX 256
#define STREAMS_MAX 256
#define SOURCE_HEADERS_MAX 4

/** Settings of one source from the configuration. Borrowed; lives as long as the process. No
 *  pointer is NULL; what a source has no use for is "" or an empty list. */
struct source_settings {
    const char *base_url; /* E.g. https://api.pathofexile.com, without a slash at its end. */
    const char *seed_url; /* psapi: base of the change-ids resource; "" when it starts elsewhere. */
    const char *other_url; /* enrichment: base of the wiki; base_url is poedb's. */
    const char *path;      /* trade_data: template with {resource} or {cursor}. */
    const char *start; /* psapi: "head", "oldest" or a cursor; currency_exchange: "latest", "oldest"
                          or an hour. */
    const char *const *realms; /* psapi, currency_exchange, account_stashes, leagues. */
    size_t n_realms;
    const char *const *leagues; /* poe_ninja, account_stashes: what to ask; psapi: all are taken. */
    size_t n_leagues;
    /* poe_ninja: "exchange/Currency", "item/UniqueWeapon", "currency/Currency". trade_data:
     * resources, as "static". enrichment: pages, as "poedb/Currency_Exchange", "wiki/mods". oauth:
     * scopes, as "service:psapi". */
    const char *const *kinds;
    size_t n_kinds;
    int64_t period_ns; /* Between two polls of one stream when there is nothing new. */
    int64_t quick_ns;  /* trade_data: the same for change-ids. currency_exchange: how long after the
                          hour, and then how often, a digest is asked for that is not there yet. */
    bool use_oauth;    /* Requests carry a bearer token of the source's scope. */
    const char *client_id, *client_secret; /* oauth; "" for a public client's secret. */
    const char *login; /* oauth: which login there is, another for each; "": nobody is logged in. */
    const char *account; /* account_stashes: whose stash it is, as the vendor says; "": unknown. */
};

/** One cursor of a source. */
struct stream_spec {
    char key[128]; /* Unique in its source and stable: cursor key, log, metrics' base. */
    char realm[32], league[64], kind[64];
    char endpoint[64]; /* Which of the governor's endpoints its requests use. */
    char mark[8];      /* For the source itself: what judge must know of the settings. Not kept. */
    char service[32], path[160]; /* For checkpoint and request rows: psapi; /public-stash-tabs. */
    const char *base_url; /* Of its requests, where it is not settings->base_url: borrowed from the
                             settings. NULL: that one. */
};

#define LOGIN_ID_SIZE 17 /* 16 hex digits and their NUL: which login of a user it is. */

/** Where a stream stands. The poller keeps it; cursor and etag come back after a restart. */
struct stream_state {
    char cursor[CURSOR_MAX]; /* "" before the first page or seed. */
    char etag[CURSOR_MAX];   /* Raw, as the server sent it. */
    bool caught_up;          /* The last answer brought nothing new. */
    bool unavailable;        /* The last answer was PAGE_UNAVAILABLE. */
    bool poked;              /* Somebody asked for it now: what is due later is due at once. */
    /* What judge wanted to have remembered. Memory only: empty after a restart, so a source must be
     * able to go on without it. */
    struct slice memo;
    /* The login that there is when plan is called, or whose refresh token was shown when judge is;
     * "": nobody is logged in. */
    char login[LOGIN_ID_SIZE];
    uint32_t n_failures;        /* In a row. */
    int64_t last_reply_mono_ns; /* 0: none yet. */
    struct clock now;           /* When plan is called, or when the answer came that judge sees. */
    /* The same wall time, or what servers say it is when that is earlier: what is not over by this
     * is not over. 0: nobody compares clocks. */
    int64_t cautious_wall_ns;
};

/* Which share of a policy's tokens a request draws on; see enum permit_class. */
enum source_class {
    SOURCE_TAIL,
    SOURCE_METADATA,
    SOURCE_BACKFILL,
    SOURCE_INTERACTIVE,
    SOURCE_PROBE
};

struct source_request {
    char url[1024];
    const char *method; /* NULL: GET. */
    char body[1024];    /* Of a POST, as application/x-www-form-urlencoded; "" for none. */
    const char *scope;  /* The poller adds the bearer token of this OAuth scope, or waits quietly
                           until there is one; NULL: none is needed. */
    enum source_class class;
    int expect_status; /* Besides 200 and 304 a status that is no mistake of ours, as 404 for what
                          is not published yet; 0: none. */
    bool expect_4xx;   /* So are 400 to 499 but 429: judge paces what comes after a refusal. */
    bool done;         /* There is nothing more to ask, ever: the stream ends here. */
    bool login; /* The poller adds the refresh token of the user's login to the body, or waits
                   quietly until somebody is logged in. It is good once: the answer is waited for,
                   also by a process that ends. */
    char headers[SOURCE_HEADERS_MAX][CURSOR_MAX + 64];
    size_t n_headers;
    int64_t not_before_mono_ns; /* The source's own pace; the governor may wait longer. INT64_MAX:
                                   when it is poked. */
    bool seed;                  /* The answer is for judge to find a first cursor, not a page. */
    char endpoint[64];          /* The stream's, or the one the seed uses. */
    char gap_key[160];          /* For endpoint_options.key_gap_ns; "" for none. */
};

struct source_header {
    struct slice name, value;
};
/** What came back; body decoded, complete. */
struct source_answer {
    bool seed;
    int status;
    const struct source_header *headers;
    size_t n_headers;
    struct slice body;
};

enum page_verdict {
    PAGE_NEW,       /* Keep it: it makes the transition cursor -> next_cursor. */
    PAGE_EMPTY,     /* End of stream: nothing to keep, ask the same cursor again later. */
    PAGE_UNCHANGED, /* 304: what we have is current. */
    PAGE_REPEAT,  /* New content for a cursor that was left behind, or next equals cursor with data.
                   */
    PAGE_REWIND,  /* The next cursor lies behind ours. Never followed. */
    PAGE_INVALID, /* Not what the upstream promises; cursor unchanged, ask again. */
    PAGE_SEEDED,  /* No page, but a first cursor in next_cursor. */
    PAGE_UNAVAILABLE, /* The upstream does not give this (a scope that is not granted, a resource
                         that is gone): a state, not a failure. Cursor unchanged; the error says
                         why, plan when to look again. */
};

struct page_facts {
    enum page_verdict verdict;
    char next_cursor[CURSOR_MAX];
    char etag[CURSOR_MAX];
    uint32_t n_entries; /* Stashes or lines. */
    bool block_page;    /* HTML where data was due. */
    bool too_old;       /* With an error: upstream has nothing for long behind the cursor, either.
                           A stream that is bound to a stretch of the past ends with that. */
    struct buf memo;    /* For stream_state.memo, which it replaces unless it is empty. */
    struct buf secret;  /* Whatever the verdict: what must be on disk before anything else is done
                           with the answer, and is for nobody but poller_deps.keep_secret. */
    struct buf keep;    /* PAGE_NEW: kept instead of the body, which holds what must not lie on a
                           disk; empty: the body. */
};

/** One page for decode. */
enum page_freshness {
    PAGE_FRESH,       /* Just received. */
    PAGE_REVALIDATED, /* The server said 304; the body is the last one. */
    PAGE_STALE,       /* The server is away; the body is the last one. */
};
struct page {
    const struct stream_spec *stream;
    struct slice cursor_from, cursor_to;
    int64_t received_wall_ns; /* Of this record. */
    uint64_t lsn;
    enum page_freshness freshness;
    uint16_t http_status;    /* Of the answer. */
    struct slice limits_raw; /* Its rate-limit headers as they came. */
    struct slice body;       /* JSON, UTF-8 as promised but not trusted. */
};

/** What decoding depends on besides the page; a CONFIG record in the log says when it changes. */
struct decode_context {
    const char *const *followed; /* Leagues that are partitions of their own; else "other". */
    size_t n_followed;
};

struct source_type {
    const char *name; /* Metric label, checkpoint key, table prefix: never changes. */
    bool repeats;     /* On 304 and on an outage the last body makes rows again. */
    /* judge sees answers of every status, not of 200 alone; 304 is never its. Status 0: the server
     * closed the connection without an answer. */
    bool judges_errors;
    /* judge depends on what it remembered (memo), or has other bytes kept than it saw: a page of
     * the log cannot be judged anew. */
    bool judges_once;
    /* Where rows come from while an answer is PAGE_UNAVAILABLE, which then is an alert: "derived
     * from the tape". NULL: unavailable is a normal state. */
    const char *instead;
    const struct table_desc *const *tables; /* What decode may fill, NULL at the end. */
    /** Lists the streams of @settings. @return their number, at most STREAMS_MAX, or an error. */
    int (*streams)(const struct source_settings *settings, struct stream_spec *out, struct err *e);
    /** What to ask next. */
    void (*plan)(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct source_request *out);
    /** What @answer means for the cursor; checks the whole body's shape, not its entries. Bufs that
     *  it fills in @out are the caller's to free.
     *  @return 0, or ERR_MALFORMED etc. with the place in @e (verdict is PAGE_INVALID then, or
     * PAGE_REWIND). */
    int (*judge)(const struct stream_spec *stream, const struct stream_state *state,
                 const struct source_answer *answer, struct page_facts *out, struct err *e);
    /** Turns a page into rows of its tables; entries that break a rule become bronze_quarantine
     *  rows with a reason. Same page, same rows, byte for byte.
     *  @return 0, or ERR_MALFORMED with the field that failed, and no rows. */
    int (*decode)(const struct page *page, const struct decode_context *context, struct rows *out,
                  struct err *e);
    /** One line for people about where the stream stands: appends it to @out, or nothing. On the
     *  loop. NULL: it has nothing to say. */
    void (*note)(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct buf *out);
    /** The cursor that a person means by @text: one that the source itself could have made, or what
     *  stands for one, as a time. Pure. NULL: cursors are nobody's to set.
     *  @return 0 with @out, or ERR_CONFIG with what is expected. */
    int (*cursor)(const char *text, char out[CURSOR_MAX], struct err *e);
    /** @return whether a stream at @cursor has come to @until, or is behind it: the end of a
     *  backfill. Pure. NULL: the source has no past to ask for. */
    bool (*reached)(const char *cursor, const char *until);
};

/** @return the source called @name, or NULL; and the table of all, sorted by name. */
const struct source_type *source__find(const char *name);
const struct source_type *const *source__all(size_t *n);

/* Rows that were refused carry reason codes from a bounded set (include/souk/quality.h). */

/** @return the value of the header @name (any case) in @answer without blanks, or an empty slice.
 */
struct slice source__header(const struct source_answer *answer, struct slice name);
/** The ETag of @answer as it can be sent back, into @out; "" when there is none, or none such. */
void source__etag(const struct source_answer *answer, char out[CURSOR_MAX]);
/** A cursor for what has none: made of the bytes of @body. */
void source__body_cursor(struct slice body, char out[CURSOR_MAX]);
/** @return whether @s may be kept as a cursor: printable ASCII without blanks, and short. */
bool source__is_cursor(struct slice s);
/** @return the partition of @league: itself when @context follows it (and its
 *  name has less than 64 bytes), else "other". */
struct slice source__league_key(const struct decode_context *context, struct slice league);
/** Appends @bytes to the text @out of @size bytes, all but letters, digits and -._~ as %XX.
 *  @return false when it does not fit; @out is still terminated. */
bool source__url_append(char *out, size_t size, struct slice bytes);

#endif
