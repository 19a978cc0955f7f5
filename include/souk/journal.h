/* What PAGE, REQUEST, CONFIG and CHECKPOINT records hold, as bytes and back.
 *
 * A PAGE is a request that brought a body: its facts and cursor transition, then the body, zstd. A
 * REQUEST is the same without a body. All rows about requests and checkpoints are made from these
 * records, so that a crash can lose none and repeat none. */
#ifndef SOUK_JOURNAL_H
#define SOUK_JOURNAL_H

#include "souk/core/batch.h"
#include "souk/source.h"

enum request_flag {
    REQUEST_SEED = 1,       /* cursor_to is a first cursor. */
    REQUEST_ADVANCES = 2,   /* The cursor moves from cursor_from to cursor_to. */
    REQUEST_CHECKPOINT = 4, /* Makes a row of bronze_ingest_checkpoints. */
};

/** One request and what came of it. Slices are borrowed. */
struct request_facts {
    uint32_t flags;
    struct slice source, stream; /* Names: psapi, pc. */
    struct slice service, realm, league, kind, path;
    struct slice method;
    struct slice cursor_from, cursor_to, etag;
    uint8_t freshness;         /* enum page_freshness; of a PAGE. */
    uint16_t http_status;      /* 0: no response. */
    uint32_t attempts;         /* Of this page, this one included. */
    struct slice retry_reason; /* Why there was more than one. */
    struct slice status; /* ok, empty, unchanged, repeat, rewind, invalid, error, seeded, stale. */
    int64_t requested_wall_ns, received_wall_ns;
    uint64_t response_us;            /* Sent to done. */
    uint64_t first_byte_us;          /* Sent to first byte. */
    uint64_t wire_bytes, body_bytes; /* On the wire; decoded. */
    uint32_t n_entries;
    struct slice policy, limits_raw, limits_state;
    int64_t retry_after_s; /* -1: none. */
    struct slice error;
};

/** Appends @facts to @out; a PAGE's zstd bytes follow it in the record. */
void journal__encode(const struct request_facts *facts, struct buf *out);
/** Reads them back; slices point into @payload. @body gets what follows (compressed), or nothing.
 *  @return 0 or ERR_CORRUPT. */
int journal__decode(struct slice payload, struct request_facts *out, struct slice *body);
/* A stream's cursor changed by hand is a request of its own, which nobody sent. */
#define JOURNAL_CURSOR_METHOD "CURSOR"
/** @return whether @facts freeze or unfreeze a stream by hand; @reason is why, "" for unfreezing.
 */
bool journal__hold(const struct request_facts *facts, struct slice *reason);
/* Stands in the key of a backfill's stream, behind the key of the stream that it is one of. */
#define JOURNAL_BACKFILL "@backfill/"
/** @return whether @facts are of a backfill: of a stretch that the main stream may have passed. */
bool journal__is_backfill(const struct request_facts *facts);
/** @return the stream of @facts as judge and decode want it, in @out; texts too long are cut. */
void journal__stream(const struct request_facts *facts, struct stream_spec *out);
/** Compresses a body; its length stands in the zstd frame. @return 0 or ERR_NOMEM. */
int journal__compress(struct slice body, struct buf *out);
/** Decompresses into @out, at most @max bytes. @return 0, ERR_CORRUPT, ERR_LIMIT or ERR_NOMEM. */
int journal__decompress(struct slice compressed, size_t max, struct buf *out);
/** Appends the rows about the request itself (bronze_requests, bronze_ingest_checkpoints) with
 *  position @lsn; @n_rows are those that its page made. */
void journal__rows(const struct request_facts *facts, uint64_t lsn, size_t n_rows,
                   struct rows *out);

#endif
