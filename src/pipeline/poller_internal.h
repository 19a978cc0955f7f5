/* What the poller's files share: poller.c moves it, verdict.c says what an answer means. */
#ifndef SOUK_POLLER_INTERNAL_H
#define SOUK_POLLER_INTERNAL_H

#include "souk/core/log.h"
#include "souk/decode.h"
#include "souk/poller.h"

#define POLLER_META_MAX ((size_t)64 << 10)
#define POLLER_PACKED_MAX                                                                          \
    (SPOOL_RECORD_MAX - POLLER_META_MAX - 64) /* A record's, beside its facts. */
#define POLLER_REFUSED_WAIT_NS (5 * NS_PER_S)
#define POLLER_TOKEN_WAIT_NS NS_PER_S        /* A token is on its way. */
#define POLLER_QUIET_WAIT_NS (60 * NS_PER_S) /* There is none; somebody may grant it. */
/* After a refusal of what it asks for; doubled each time again. */
#define POLLER_REST_NS (10 * NS_PER_S)
#define POLLER_REST_MAX_NS (3600 * NS_PER_S)
#define POLLER_BEARER_LINE "Authorization: Bearer " /* In front of a token. */
#define POLLER_BACKOFF_MAX_NS (60 * NS_PER_S)
#define POLLER_UNREACHED_MAX_NS (8 * NS_PER_S) /* Without a response, as the governor has it. */

/* judge and compression, on the thread pool. */
struct judge_job {
    uv_work_t work;
    struct poller *poller;
    struct source_answer answer;
    struct source_header headers[HTTP_HEADERS_MAX];
    struct buf headers_text; /* Owned copies of the headers' bytes. */
    struct buf body;         /* Taken from the response. */
    struct page_facts page;
    struct err err;
    int status;
    bool oversized; /* The answer, or what is kept of it, is larger than we take. */
};

struct poller {
    struct poller_deps deps;
    const struct source_type *type;
    const struct source_settings *settings;
    const struct stream_spec *stream;
    struct stream_state state;
    enum poll_state doing;
    uint64_t revision;
    struct source_request request;
    struct permit permit;
    struct gate_ask gate;
    struct poller_recent recent;
    struct http_request http;
    const char *header_lines[SOURCE_HEADERS_MAX + 1];
    char bearer[POLLER_BEARER_MAX + 32]; /* The Authorization line. */
    struct buf memo;                     /* What state.memo points to. */
    /* A request's body with the refresh token of a login. */
    char login_body[sizeof((struct source_request *)0)->body + 4 * POLLER_BEARER_MAX];
    struct clock requested;
    struct judge_job job;
    struct governor_verdict limits;
    /* The record that is being kept, and what will be true once it is synced. */
    struct request_facts facts;
    struct buf meta, packed;
    bool is_page, appended;
    char next_cursor[CURSOR_MAX], next_etag[CURSOR_MAX], last_cursor[CURSOR_MAX];
    char error[ERR_MSG_MAX];
    /* Sources that repeat: the last body, packed, and when it last made stale rows. */
    struct buf last_packed;
    uint32_t last_entries;
    uint64_t last_body_bytes;
    int64_t last_rows_mono_ns;
    int64_t backoff_until_mono_ns;
    uint32_t attempts;
    bool proven; /* What it asks for was there when last anybody said so, in this run or before. */
    bool is_refusal;       /* The last answer refused what was asked for, and nothing else. */
    uint32_t n_refusals;   /* Such answers in a row. */
    bool too_old;          /* See page_facts.too_old. */
    uint32_t n_oversized;  /* Answers in a row that are larger than we take. */
    uint16_t refused_http; /* The status of the last of them. */
    char retry_reason[64];
    uv_timer_t timer;
    int64_t next_mono_ns;
    struct poller_counts counts;
    uint64_t body_bytes, entries;
    int64_t last_success_mono_ns;
    int64_t started_wall_ns, last_success_wall_ns, last_new_wall_ns, last_advance_wall_ns,
        throttled_wall_ns;
    bool frozen, spool_full, refused, quiet, tokenless, done;
    struct poller_bound bound; /* until NULL: none. */
    bool held;                 /* Frozen by hand. */
    char held_reason[POLLER_REASON_MAX];
    /* A change by hand that waits, or is being kept. */
    struct {
        enum poller_steer what;
        bool waits, kept;
        char cursor[CURSOR_MAX], reason[POLLER_REASON_MAX];
        poller_steered_cb cb;
        void *data;
    } steer;
    char last_error[ERR_MSG_MAX];
    void (*close_cb)(void *data);
    void *close_data;
    struct {
        struct series *fresh, *empty, *unchanged, *repeat, *rewind, *invalid, *error, *stale,
            *unavailable;
        struct series *regressions, *last_success, *last_new, *last_advance;
    } m;
};

void poller__move(struct poller *p, enum poll_state next);
void poller__plan(struct poller *p);
void poller__wait(struct poller *p, int64_t wait_ns);
/** Appends the record in meta and packed; tries again twice a second while the spool is full. */
void poller__append(struct poller *p);
/** Keeps @facts, with the body in packed when @is_page. */
void poller__keep(struct poller *p, const struct request_facts *facts, bool is_page);
/** A request ended: tells the governor, then judges the answer. */
void poller__judge_response(struct poller *p, struct http_response *response);
/** @return whether an answer of @status refuses what was asked for, and nothing else. */
bool poller__is_about_subject(int status);
/** The record is synced: moves the cursor and counts. */
void poller__apply(struct poller *p);
/** Sets the times of its state: plan or judge is about to be called. */
void poller__set_now(struct poller *p);
/** Begins to keep a change by hand that waits for the poller to be idle. @return false when there
 * is none. */
bool poller__take_steer(struct poller *p);
/** The change that is being kept, or waits, came to its end. */
void poller__end_steer(struct poller *p, int status);
void poller__init_metrics(struct poller *p);

#endif
