/* What the spool's files look like, byte by byte. All numbers are little-endian.
 *
 * Segment NNNNNNNNNNNNNNNN.wal (decimal number, from 1): a header page of 4 KiB, then records. The
 * header stands twice, at 0 and at 2048, each with its own CRC. A record is a 32-byte header and
 * its payload, padded with zeros to 8:
 *
 *     u32 len | u32 crc | u64 lsn | u16 type | u16 check | u32 source | i64 wall_ns | payload
 *
 * crc is CRC-32C seeded with (store id, segment, offset), so bytes of another place or store never
 * pass; check is 16 bits of the same over the header alone, so that looking for the next record
 * behind a damaged one costs one pass whatever the bytes are. The last record of a segment is END,
 * whose payload is the number of the next segment (u64); a CHECKPOINT's starts with the low-water
 * mark (u64); a range that recovery set aside becomes the payload of a GAP, which no CRC covers. */
#ifndef SOUK_SPOOL_FORMAT_H
#define SOUK_SPOOL_FORMAT_H

#include "souk/spool.h"

#define SEGMENT_HEADER 4096u
#define SEGMENT_HEADER_COPY 2048u /* Where the header's second copy starts. */
#define SEGMENT_HEADER_USED 76u
#define RECORD_HEADER 32u
#define FORMAT_VERSION 1u
#define SEGMENT_NAME_SIZE 32

#define END_EXTENT (RECORD_HEADER + 8u) /* Room that every segment keeps for its END. */

enum { RECORD_GAP = 0xfffe, RECORD_END = 0xffff };

/** What all segments of one spool share. */
struct spool_form {
    unsigned char id[16];
    char id_hex[33];
    uint64_t segment_bytes;
    uint32_t seed; /* CRC of the id. */
};

struct segment_header {
    uint32_t version;
    uint64_t segment_bytes, segment, first_lsn;
    unsigned char id[16];
    int64_t wall_ns, mono_ns; /* When it was made. */
};

struct record_header {
    uint32_t len;
    uint64_t lsn;
    uint16_t type;
    uint32_t source;
    int64_t wall_ns;
};

static inline void put_le(unsigned char *p, uint64_t v, unsigned width) {
    for (unsigned i = 0; i < width; i++) p[i] = (unsigned char)(v >> (8 * i));
}
static inline uint64_t get_le(const unsigned char *p, unsigned width) {
    uint64_t v = 0;
    for (unsigned i = 0; i < width; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}
/** @return bytes that a record with a payload of @len takes. */
static inline uint64_t record__extent(uint64_t len) { return RECORD_HEADER + ((len + 7) & ~7ull); }

void form__init(struct spool_form *f, const unsigned char id[16], uint64_t segment_bytes);
static inline uint64_t form__lsn(const struct spool_form *f, uint64_t segment, uint64_t offset) {
    return segment * f->segment_bytes + offset;
}
/** @return the highest number of a segment; positions stay below 2^62. */
static inline uint64_t form__segment_max(const struct spool_form *f) {
    return (1ull << 62) / f->segment_bytes;
}
static inline uint64_t form__segment(const struct spool_form *f, uint64_t lsn) {
    return lsn / f->segment_bytes;
}
static inline uint64_t form__offset(const struct spool_form *f, uint64_t lsn) {
    return lsn % f->segment_bytes;
}

/** Writes both copies of the header of @segment into @page, SEGMENT_HEADER bytes. */
void segment_header__encode(const struct spool_form *f, uint64_t segment, int64_t wall_ns,
                            unsigned char *page);
/** Reads whichever copy of @page is whole. @return how many are (0, 1, 2). */
int segment_header__decode(const unsigned char *page, struct segment_header *out);
/** Writes the name of @segment with @suffix (e.g. ".wal") into @out, SEGMENT_NAME_SIZE bytes. */
void segment_name(uint64_t segment, const char *suffix, char *out);
/** @return true when @name is a segment's with exactly @suffix, its number in @segment. */
bool segment_name__parse(const char *name, const char *suffix, uint64_t *segment);

/** Writes a header without check and CRC at @p. */
void record__encode(unsigned char *p, const struct record_header *h);
/** Fills in check and CRC of the record at @p, whose bytes are all there. */
void record__seal(const struct spool_form *f, uint64_t segment, uint64_t offset, unsigned char *p);
/** Reads the header at @p. @return true when it is one, made for this place. */
bool record__decode(const struct spool_form *f, uint64_t segment, uint64_t offset,
                    const unsigned char *p, struct record_header *out);
/** @return true when the CRC of the record at @p, whose header passed record__decode, is right. A
 *  GAP needs its header alone at @p, any other record its whole extent. */
bool record__intact(const struct spool_form *f, uint64_t segment, uint64_t offset,
                    const unsigned char *p);

#endif
