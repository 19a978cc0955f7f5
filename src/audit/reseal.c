/* Whether the log still makes the rows that were sealed. Where it does not, another version of souk
 * decoded these pages, and rows that differ need not be anybody's damage. */
#include "audit_internal.h"
#include "souk/record_rows.h"
#include <stdio.h>
#include <stdlib.h>

static bool equals(const uint8_t hash[16], const char hex[33]) {
    char own[33];
    for (size_t i = 0; i < 16; i++) snprintf(own + 2 * i, 3, "%02x", hash[i]);
    return memcmp(own, hex, 32) == 0;
}

/* Adds those rows of @rec that belong to @seal. */
static int add_record(const struct audit *a, uint32_t seal, struct record_decoder *decoder,
                      const struct spool_record *rec, struct batch *out, struct err *e) {
    const struct audit_seal *s = &a->log.seals[seal];
    const char *part = a->log.parts[s->part];
    struct rows rows;
    int status = record_decoder__rows(decoder, rec, &rows);
    for (size_t i = 0; i < rows.n && status == 0; i++) {
        const struct rows_batch *rb = &rows.batches[i];
        int32_t day = clock__day(rec->wall_ns);
        if (rb->batch.table == out->table && strcmp(rb->part, part) == 0 && day == s->day &&
            rb->batch.n_rows > 0 && audit_log__find(&a->log, s->table, part, day, rec->lsn) == seal)
            status = batch__append(out, &rb->batch);
    }
    rows__fini(&rows);
    return status == 0 ? 0 : err__setf(e, status, "audit: seal cannot be made again");
}

int audit__is_as_sealed(struct audit *a, uint32_t seal, bool *same, struct err *e) {
    const struct audit_seal *s = &a->log.seals[seal];
    struct record_decoder *decoder =
        record_decoder__new(audit_log__followed_at(&a->log, s->first_lsn));
    struct spool_scan *scan = NULL;
    struct spool_record rec;
    struct batch batch = {0};
    char hash[33] = "";
    int status = decoder == NULL || batch__init(&batch, a->options->store->tables[s->table]) != 0
                     ? err__setf(e, ERR_NOMEM, "audit: out of memory")
                     : spool_scan__open(&scan, a->options->spool_dir, e);
    *same = false;
    if (status == 0) spool_scan__seek(scan, s->first_lsn);
    while (status == 0 && batch.n_rows <= s->n_rows) { /* More than was sealed is enough to know. */
        int code = spool_scan__next(scan, &rec, e);
        if (code == ERR_CORRUPT) continue;
        if (code != 1 || rec.lsn > s->last_lsn) {
            status = code < 0 ? code : 0;
            break;
        }
        status = add_record(a, seal, decoder, &rec, &batch, e);
    }
    if (status == 0) {
        batch__hash(&batch, hash);
        *same = equals(s->hash, hash);
    }
    spool_scan__close(scan);
    record_decoder__free(decoder);
    batch__fini(&batch);
    return status;
}
