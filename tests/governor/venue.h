/* The vendor, as the conformance runs meet it: souk-sim's own limiter (src/sim/judge/limiter.c), which
 * shares no code with souk, behind plain types, as both have a struct buf.
 *
 * A venue has one policy with up to three rules. It counts, rounds and restricts as the simulator
 * does, and keeps the books: what it calls a violation is one, whatever souk thinks. Besides the
 * policy there is a ceiling that no header tells (20 requests a second, 1,000 a minute), as in front
 * of the real one; there, HEAD requests count too. */
#ifndef GOVERNOR_VENUE_H
#define GOVERNOR_VENUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VENUE_RULES_MAX 3
#define VENUE_HEADERS_MAX 2048

struct venue;
struct venue_rule {
    const char *name, *triples; /* Borrowed: Ip, Account or Client; "2:1:60,30:60:300". */
};
struct venue_books {
    uint64_t n_requests;   /* GETs that were counted. */
    uint64_t n_heads;      /* Not counted by the policy. */
    uint64_t n_violations; /* Refused, or sent while restricted. */
    uint64_t n_restricted; /* Of those, sent while a restriction was active. */
    uint64_t n_ceiling;    /* Times that the ceiling was passed. */
};

/** @phase_ns is where its counting buckets begin; @bucketed false counts exactly. */
struct venue *venue__new(const char *policy, const struct venue_rule *rules, size_t n,
                         int64_t phase_ns, bool bucketed);
void venue__free(struct venue *v);
/** A GET arrives. @return seconds for Retry-After when it is refused, else 0. */
int64_t venue__get(struct venue *v, int64_t now_ns);
/** A HEAD arrives: tells the state, counts nowhere but against the ceiling. */
void venue__head(struct venue *v, int64_t now_ns);
/** Requests of somebody else: they take room and break nothing. */
void venue__others(struct venue *v, int64_t now_ns, int64_t n);
/** New limits from the next request on; the hits stay. */
void venue__limits(struct venue *v, size_t rule, const char *triples);
void venue__rename(struct venue *v, const char *policy);
/** @return hits that window @w of rule @rule counts. */
int64_t venue__hits(const struct venue *v, size_t rule, size_t w, int64_t now_ns);
/** Writes "Name: value" lines, each with CRLF, as a reply at @now_ns carries them. @degraded: the
 *  policy's name alone. */
void venue__headers(const struct venue *v, int64_t now_ns, bool degraded,
                    char out[VENUE_HEADERS_MAX]);
struct venue_books venue__books(const struct venue *v);

#endif
