/* Encoding and checking of segment and record headers. Everything read here may be damaged. */
#include "format.h"
#include "crc32c.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const unsigned char magic[8] = {'s', 'o', 'u', 'k', 'w', 'a', 'l', '\n'};

void form__init(struct spool_form *f, const unsigned char id[16], uint64_t segment_bytes) {
    memcpy(f->id, id, sizeof f->id);
    for (size_t i = 0; i < sizeof f->id; i++) snprintf(f->id_hex + 2 * i, 3, "%02x", id[i]);
    f->segment_bytes = segment_bytes;
    f->seed = crc32c__update(0, id, sizeof f->id);
}

void segment_header__encode(const struct spool_form *f, uint64_t segment, int64_t wall_ns,
                            unsigned char *page) {
    memset(page, 0, SEGMENT_HEADER);
    memcpy(page, magic, sizeof magic);
    put_le(page + 8, FORMAT_VERSION, 4);
    put_le(page + 12, f->segment_bytes, 8);
    put_le(page + 20, segment, 8);
    put_le(page + 28, form__lsn(f, segment, SEGMENT_HEADER), 8);
    memcpy(page + 36, f->id, sizeof f->id);
    put_le(page + 52, (uint64_t)wall_ns, 8);
    put_le(page + 60, (uint64_t)clock__stopwatch_ns(), 8);
    put_le(page + 72, crc32c__update(0, page, 72), 4);
    memcpy(page + SEGMENT_HEADER_COPY, page, SEGMENT_HEADER_USED);
}

int segment_header__decode(const unsigned char *page, struct segment_header *out) {
    int n = 0;
    for (int copy = 1; copy >= 0; copy--) {
        const unsigned char *p = page + (copy == 1 ? SEGMENT_HEADER_COPY : 0);
        if (memcmp(p, magic, sizeof magic) != 0) continue;
        if (get_le(p + 72, 4) != crc32c__update(0, p, 72)) continue;
        *out = (struct segment_header){.version = (uint32_t)get_le(p + 8, 4),
                                       .segment_bytes = get_le(p + 12, 8),
                                       .segment = get_le(p + 20, 8),
                                       .first_lsn = get_le(p + 28, 8),
                                       .wall_ns = (int64_t)get_le(p + 52, 8),
                                       .mono_ns = (int64_t)get_le(p + 60, 8)};
        memcpy(out->id, p + 36, sizeof out->id);
        n++;
    }
    return n;
}

void segment_name(uint64_t segment, const char *suffix, char *out) {
    snprintf(out, SEGMENT_NAME_SIZE, "%016" PRIu64 "%s", segment, suffix);
}

bool segment_name__parse(const char *name, const char *suffix, uint64_t *segment) {
    if (strspn(name, "0123456789") != 16 || strcmp(name + 16, suffix) != 0) return false;
    *segment = 0;
    for (int i = 0; i < 16; i++) *segment = *segment * 10 + (uint64_t)(name[i] - '0');
    return *segment != 0;
}

void record__encode(unsigned char *p, const struct record_header *h) {
    memset(p, 0, RECORD_HEADER);
    put_le(p, h->len, 4);
    put_le(p + 8, h->lsn, 8);
    put_le(p + 16, h->type, 2);
    put_le(p + 20, h->source, 4);
    put_le(p + 24, (uint64_t)h->wall_ns, 8);
}

/* The CRC of a record's header, without its two checksums. */
static uint32_t header_crc(const struct spool_form *f, uint64_t segment, uint64_t offset,
                           const unsigned char *p) {
    unsigned char place_and_header[16 + RECORD_HEADER];
    put_le(place_and_header, segment, 8);
    put_le(place_and_header + 8, offset, 8);
    memcpy(place_and_header + 16, p, RECORD_HEADER);
    memset(place_and_header + 16 + 4, 0, 4);
    memset(place_and_header + 16 + 18, 0, 2);
    return crc32c__update(f->seed, place_and_header, sizeof place_and_header);
}

static uint16_t fold(uint32_t crc) { return (uint16_t)(crc ^ crc >> 16); }

static uint32_t whole_crc(uint32_t crc, const unsigned char *p) {
    if (get_le(p + 16, 2) == RECORD_GAP) return ~crc;
    return crc32c__update(crc, p + RECORD_HEADER,
                          (size_t)record__extent(get_le(p, 4)) - RECORD_HEADER);
}

void record__seal(const struct spool_form *f, uint64_t segment, uint64_t offset, unsigned char *p) {
    uint32_t crc = header_crc(f, segment, offset, p);
    put_le(p + 18, fold(crc), 2);
    put_le(p + 4, whole_crc(crc, p), 4);
}

bool record__decode(const struct spool_form *f, uint64_t segment, uint64_t offset,
                    const unsigned char *p, struct record_header *out) {
    if (get_le(p + 8, 8) != form__lsn(f, segment, offset)) return false;
    if (get_le(p + 18, 2) != fold(header_crc(f, segment, offset, p))) return false;
    *out = (struct record_header){.len = (uint32_t)get_le(p, 4),
                                  .lsn = get_le(p + 8, 8),
                                  .type = (uint16_t)get_le(p + 16, 2),
                                  .source = (uint32_t)get_le(p + 20, 4),
                                  .wall_ns = (int64_t)get_le(p + 24, 8)};
    return out->type == RECORD_GAP || out->len <= SPOOL_RECORD_MAX;
}

bool record__intact(const struct spool_form *f, uint64_t segment, uint64_t offset,
                    const unsigned char *p) {
    return get_le(p + 4, 4) == whole_crc(header_crc(f, segment, offset, p), p);
}
