/* Pages as psapi gives them out, made from a seed: the same bytes on any machine. Header only. */
#ifndef SOUK_TESTS_RIVER_PAGES_H
#define SOUK_TESTS_RIVER_PAGES_H

#include "souk/core/buf.h"
#include "souk/core/clock.h"
#include "souk/journal.h"
#include "souk/spool.h"
#include <assert.h>
#include <stdio.h>

/* Numbers that look random and are the same everywhere. */
static inline unsigned river_pages__pick(uint64_t *seed, unsigned n) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((*seed >> 33) % n);
}

/* Items as the river has them, a tenth of them wrong. One number a statement: compilers differ in
 * the order in which they evaluate arguments. */
static inline void river_pages__items(struct buf *out, uint64_t *seed, unsigned n) {
    static const char *const notes[] = {"~price 1/7 chaos", "~b/o 3.25 divine", "not for sale", "~price 1e400 chaos", ""};
    for (unsigned i = 0; i < n; i++) {
        unsigned x[9];
        static const unsigned below[] = {1u << 31, 1u << 31, 100, 4, 10, 100, 40, 5, 120};
        for (size_t k = 0; k < 9; k++) x[k] = river_pages__pick(seed, below[k]);
        buf__printf(out,
                    "%s{\"id\":\"%08x%08x\",\"name\":\"N\\u00e9 %u\",\"typeLine\":\"Ring\",\"baseType\":\"Ring\","
                    "\"frameType\":%u,\"ilvl\":%s%u,\"identified\":true,\"stackSize\":%u,\"note\":\"%s\","
                    "\"explicitMods\":[\"+%u to maximum Life\"]}",
                    i == 0 ? "" : ",", x[0], x[1], x[2], x[3], x[4] == 0 ? "-" : "", x[5] + 1, x[6], notes[x[7]], x[8]);
    }
}

/* Page @n of the river, with the change of @n_stashes stashes. @seed moves on. */
static inline void river_pages__make(struct buf *out, uint64_t *seed, int n, unsigned n_stashes) {
    static const char *const leagues[] = {"Standard", "Hardcore", "Allflame", "Standard"};
    buf__clear(out);
    buf__printf(out, "{\"next_change_id\":\"%d-%d\",\"stashes\":[", 10 + n, 20 + 2 * n);
    for (unsigned s = 0; s < n_stashes; s++) {
        unsigned id = river_pages__pick(seed, 1000), price = river_pages__pick(seed, 9) + 1, league = river_pages__pick(seed, 4);
        bool listed = river_pages__pick(seed, 4) > 0;
        buf__printf(out, "%s{\"id\":\"s%u\",\"public\":%s,\"accountName\":\"a%u\",\"stash\":\"~b/o %u chaos\","
                         "\"stashType\":\"PremiumStash\",\"league\":\"%s\",\"items\":[",
                    s == 0 ? "" : ",", id, listed ? "true" : "false", s, price, leagues[league]);
        if (listed) river_pages__items(out, seed, river_pages__pick(seed, 20));
        buf__append_str(out, "]}");
    }
    buf__append_str(out, "]}");
    assert(!out->failed);
}

/* Makes @out the record of page @n with @body, packed already: asked for 3.5 s after the page before,
 * the pace of two in seven seconds at which psapi gives out pages. @payload holds it. */
static inline void river_pages__record(struct spool_record *out, struct buf *payload, int n, size_t body_bytes,
                                       struct slice packed) {
    const int64_t wall_ns = INT64_C(1767225600) * NS_PER_S + n * 3500 * NS_PER_MS;
    char from[32], to[32];
    snprintf(from, sizeof from, "%d-%d", 9 + n, 18 + 2 * n);
    snprintf(to, sizeof to, "%d-%d", 10 + n, 20 + 2 * n);
    struct request_facts facts = {.flags = REQUEST_ADVANCES | REQUEST_CHECKPOINT,
                                  .source = SLICE_LIT("psapi"),
                                  .stream = SLICE_LIT("pc"),
                                  .service = SLICE_LIT("psapi"),
                                  .realm = SLICE_LIT("pc"),
                                  .path = SLICE_LIT("/public-stash-tabs"),
                                  .method = SLICE_LIT("GET"),
                                  .cursor_from = slice__str(from),
                                  .cursor_to = slice__str(to),
                                  .http_status = 200,
                                  .attempts = 1,
                                  .status = SLICE_LIT("ok"),
                                  .requested_wall_ns = wall_ns - 300 * NS_PER_MS,
                                  .received_wall_ns = wall_ns,
                                  .body_bytes = body_bytes,
                                  .retry_after_s = -1};
    buf__clear(payload);
    journal__encode(&facts, payload);
    buf__append_slice(payload, packed);
    assert(!payload->failed);
    *out = (struct spool_record){.lsn = 100 + (uint64_t)n,
                                 .next_lsn = 101 + (uint64_t)n,
                                 .type = SPOOL_PAGE,
                                 .wall_ns = wall_ns,
                                 .payload = buf__slice(payload)};
}

#endif
