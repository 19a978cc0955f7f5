/* What rate-limit headers say, and nothing about what follows from it.
 *
 * Grammar (the vendor's documentation, as quoted in facts on rate limits § 3.1):
 *     X-Rate-Limit-Policy: name
 *     X-Rate-Limit-Rules: rule[,rule...]
 *     X-Rate-Limit-<rule>: limit:period:restriction[,...]         seconds
 *     X-Rate-Limit-<rule>-State: hits:period:active[,...]         same order
 *     Retry-After: seconds or HTTP-date                           RFC 9110 § 10.2.3
 * Names come in any case and values with spaces. All of it is hostile. */
#ifndef SOUK_GOVERNOR_HEADERS_H
#define SOUK_GOVERNOR_HEADERS_H

#include "souk/governor.h"

#define WINDOWS_MAX 16
#define WINDOW_LIMIT_MAX 1000000u
#define WINDOW_PERIOD_MAX_S (7u * 24 * 3600)
#define WINDOW_RESTRICTION_MAX_S (366u * 24 * 3600)

/** One triple of a rule, with its state when there was one. */
struct rate_window {
    char rule[16]; /* Ip, Account, Client: first letter upper case, the others lower. */
    uint32_t limit, period_s, restriction_s;
    bool first; /* The first triple of its rule. */
    bool has_state;
    uint32_t hits, active_s;
};

struct rate_headers {
    char policy[64]; /* Printable ASCII; "" when none was named. */
    bool seen;       /* There was a policy or a list of rules. */
    bool complete;   /* All rules listed could be read: @windows replace the old ones. */
    struct rate_window windows[WINDOWS_MAX];
    size_t n_windows;       /* 0 unless complete. */
    int64_t retry_after_ns; /* -1: missing or not to be understood; 0: zero or past. */
    int64_t date_wall_ns;   /* The server's time when it answered; 0: it did not say. */
    char error[128];        /* "" when all was well. */
};

/** Reads the headers of a reply. @wall_ns is our time, for a Retry-After date in a reply without a
 *  Date of its own. Never fails: what cannot be read is said in error. */
void rate_headers__read(struct rate_headers *h, const struct governor_header *headers, size_t n,
                        int64_t wall_ns);
/** Writes the rate-limit headers as received, one a line, and the states, rule by rule, into @out;
 *  both are cut where they do not fit, and bytes that cannot be printed become '?'. */
void rate_headers__print(const struct rate_headers *h, const struct governor_header *headers,
                         size_t n, struct governor_verdict *out);
/** Parses an HTTP date (RFC 9110 § 5.6.7, all three forms). @return false when it is not one. */
bool http_date__parse(struct slice s, int64_t *wall_ns);

#endif
