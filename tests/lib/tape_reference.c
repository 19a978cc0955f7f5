/* What the tape says of a whole log, for comparison with what is stored: each record from the first
 * on, one after another, without snapshots, batches or crashes. Prints a line an event: what the row
 * of silver_listing_events must hold, columns separated by tabs.
 *
 *     tape_reference SPOOL_DIR FOLLOWED MEMORY_MIB RECENT_MAX
 *
 * FOLLOWED: the leagues followed at the beginning, separated by commas. */
#include "souk/listing_row.h"
#include "souk/spool_scan.h"
#include "souk/tape_records.h"
#include <stdio.h>
#include <stdlib.h>

static void put_cell(const struct column_desc *c, struct reader *r) {
    double f;
    uint64_t bits;
    switch (c->kind) {
    case COLUMN_STR: {
        struct slice s = reader__string(r);
        printf("%.*s", SLICE_FMT(s));
        return;
    }
    case COLUMN_U8: printf("%u", reader__u8(r)); return;
    case COLUMN_U32: printf("%u", reader__u32(r)); return;
    case COLUMN_F64:
        bits = reader__u64(r);
        memcpy(&f, &bits, sizeof f);
        printf("%.6f", f);
        return;
    default: printf("%lld", (long long)(int64_t)reader__u64(r)); return;
    }
}

static void put_rows(const struct batch *b) {
    struct reader r[BATCH_COLUMNS_MAX];
    size_t n = b->table->n_columns;
    for (size_t i = 0; i < n; i++) r[i] = reader__of(buf__slice(&b->columns[i].data));
    for (size_t k = 0; k < b->n_rows; k++)
        for (size_t i = 0; i < n; i++) {
            put_cell(&b->table->columns[i], &r[i]);
            putchar(i + 1 == n ? '\n' : '\t');
        }
}

int main(int argc, char **argv) {
    struct spool_scan *scan;
    struct spool_record rec;
    struct followed followed = {0};
    struct buf body = buf__init((size_t)64 << 20);
    struct err e = {0};
    if (argc != 5) return 2;
    for (char *c = argv[2]; *c != '\0'; c++)
        if (*c == ',') *c = '\n';
    const struct tape_options options = {.memory_max = strtoull(argv[3], NULL, 10) << 20,
                                         .recent_max = (uint32_t)atoi(argv[4]),
                                         .markets_max = (uint32_t)atoi(argv[4]) / 16};
    struct tape_records t = {0};
    if (followed__set(&followed, argv[2]) != 0 || tape__new(&t.tape, &options) != 0 ||
        spool_scan__open(&scan, argv[1], &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    int code;
    while ((code = spool_scan__next(scan, &rec, &e)) != 0) {
        struct rows rows;
        if (code == ERR_CORRUPT) continue;
        if (code < 0) break;
        if (rec.type == SPOOL_CONFIG) {
            char *text = slice__dup(rec.payload);
            followed__set(&followed, text);
            free(text);
        }
        if (tape_records__take(&t, &rec, &followed, &body, &rows) != 0) break;
        for (size_t i = 0; i < rows.n; i++) put_rows(&rows.batches[i].batch);
        rows__fini(&rows);
    }
    if (code != 0) fprintf(stderr, "stopped early: %s\n", e.msg);
    spool_scan__close(scan);
    tape__free(t.tape);
    followed__fini(&followed);
    buf__fini(&body);
    return code != 0;
}
