/* Scripted faults: what an upstream does wrong, to whom, how often or how long. POST /_sim/fault
 * adds one:
 *   {"target":T, "kind":..., "count":N or "for_ms":N, "value":...}
 * with T one of psapi, poe_ninja, trade_data, oauth, currency_exchange, account_stashes, leagues,
 * enrichment and *. Without count and for_ms it lasts until DELETE /_sim/fault. The oldest that
 * matches a request is spent first. */
#ifndef SIM_FAULT_H
#define SIM_FAULT_H

#include "../wire/sim_buf.h"

enum { FAULTS_MAX = 64, FAULT_TEXT_MAX = 256 };
enum fault_kind {
    FAULT_STATUS,       /* value: 400 to 599, or {"status":429,"retry_after":"any text"}; 403 is
                           Cloudflare's page, 444 closes without an answer. */
    FAULT_STALL,        /* No answer. */
    FAULT_SLOW,         /* value: bytes a second. The answer is good. */
    FAULT_TRUNCATE,     /* Close after value bytes. */
    FAULT_RESET,        /* RST after value bytes. */
    FAULT_BAD_JSON,     /* The body is cut in the middle, the length says that this is all of it. */
    FAULT_WRONG_TYPE,   /* "stashes" or "lines" is {}. */
    FAULT_HTML200,      /* 200 with a page for people. */
    FAULT_EMPTY_OBJECT, /* {} */
    FAULT_REWIND,       /* The next cursor lies value pages (5) behind. */
    FAULT_REPEAT,       /* The next cursor is the asked one, with stashes. */
    FAULT_GZIP_BOMB,    /* value MiB (64) of spaces as a small gzip body. */
    FAULT_BIG_HEADER,   /* A header line of value bytes (1 MiB). */
    FAULT_DROP_HEADERS, /* No rate-limit headers. The answer is good. */
    FAULT_LIMITS,       /* value: new triples for the target's policy, at once. */
    FAULT_PHANTOM,      /* value (1): hits of another client on the target's policy, at once. */
    FAULT_POLICY,       /* value: a new name for the target's policy, at once. */
    FAULT_BAD_PRICE,    /* value (3) hostile prices in each of the next count pages. The answers are
                           good but for these. */
    FAULT_N_KINDS,
};
struct fault {
    char target[24];
    enum fault_kind kind;
    int64_t count;             /* Left; -1 is without end. */
    int64_t until_ns;          /* 0 is without end. */
    int64_t value;             /* -1 when none was given. */
    char text[FAULT_TEXT_MAX]; /* Triples, or the raw Retry-After; empty when none was given. */
};
struct faults {
    struct fault at[FAULTS_MAX];
    size_t n;
    uint64_t n_done; /* Requests that met a fault. */
};
/** Read a fault from JSON. @return 0, or -1 with the field that is wrong. */
int fault__parse(struct fault *f, struct span json, int64_t now_ns, struct sim_err *e);
/** Take @f into the list. @return 0, or -1 when it is full. */
int faults__add(struct faults *all, const struct fault *f, struct sim_err *e);
/** Spend one use of the oldest fault for @target. @return whether there was one; it is copied to
 * @out. */
bool faults__take(struct faults *all, const char *target, int64_t now_ns, struct fault *out);
/** @return the name of a kind as requests spell it. */
const char *fault__kind_name(enum fault_kind kind);

#endif
