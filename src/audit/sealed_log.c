/* The first reading of the log: its seals, which of them are acknowledged, where it is damaged, and
 * which leagues were followed at its beginning. */
#include "audit_internal.h"
#include "souk/core/refusal.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct ack {
    uint8_t token[16];
};

struct pass {
    struct audit_log *log;
    const struct audit_options *options;
    struct ack *acks; /* Owned. */
    size_t n_acks, acks_cap, seals_cap, refused_cap, contexts_cap;
    bool has_config;
};

static bool unhex(struct slice hex, uint8_t out[16]) {
    static const char digits[] = "0123456789abcdef";
    if (hex.len != 32) return false;
    for (size_t i = 0; i < 16; i++) {
        const char *hi = memchr(digits, hex.base[2 * i], 16),
                   *lo = memchr(digits, hex.base[2 * i + 1], 16);
        if (hi == NULL || lo == NULL) return false;
        out[i] = (uint8_t)((hi - digits) << 4 | (lo - digits));
    }
    return true;
}

/* Room for one more of @size bytes each. @return false without memory or above the bound. */
static bool grow(void **items, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return true;
    size_t more = *cap == 0 ? 1024 : *cap * 2;
    void *grown = more > AUDIT_SEALS_MAX * 2 ? NULL : realloc(*items, more * size);
    if (grown == NULL) return false;
    *items = grown;
    *cap = more;
    return true;
}

size_t audit_log__part(const struct audit_log *log, const char *part) {
    for (size_t i = 0; i < log->n_parts; i++)
        if (strcmp(log->parts[i], part) == 0) return i;
    return PARTS_MAX;
}

size_t audit_log__add_part(struct audit_log *log, const char *part) {
    size_t i = audit_log__part(log, part);
    if (i != PARTS_MAX || log->n_parts == PARTS_MAX) return i;
    if (log->parts == NULL) log->parts = calloc(PARTS_MAX, sizeof *log->parts);
    if (log->parts == NULL) return PARTS_MAX;
    snprintf(log->parts[log->n_parts], sizeof *log->parts, "%s", part);
    return log->n_parts++;
}

static size_t table_index(const struct store_options *o, const char *name) {
    for (size_t i = 0; i < o->n_tables; i++)
        if (strcmp(o->tables[i]->name, name) == 0) return i;
    return o->n_tables;
}

static int take_seal(struct pass *p, const struct spool_record *rec, struct err *e) {
    struct audit_log *log = p->log;
    struct seal seal;
    if (seal__decode(rec->payload, &seal) != 0)
        return err__setf(e, ERR_SCHEMA,
                         "seal at position %" PRIu64
                         " cannot be read: another souk wrote it; use that one",
                         rec->lsn);
    size_t table = table_index(p->options->store, seal.table),
           part = audit_log__add_part(log, seal.part);
    if (table == p->options->store->n_tables)
        return err__setf(e, ERR_SCHEMA, "seal at position %" PRIu64 " is of table %s, unknown here",
                         rec->lsn, seal.table);
    if (p->options->store->tables[table]->latest_wins)
        return 0; /* What is gone need not be lost. */
    if (part == PARTS_MAX || log->n_seals == AUDIT_SEALS_MAX ||
        !grow((void **)&log->seals, log->n_seals, &p->seals_cap, sizeof *log->seals))
        return err__setf(e, ERR_LIMIT, "more than %zu seals or %d partitions, or out of memory",
                         AUDIT_SEALS_MAX, PARTS_MAX);
    struct audit_seal *s = &log->seals[log->n_seals];
    *s = (struct audit_seal){.table = (uint16_t)table,
                             .part = (uint16_t)part,
                             .day = seal.day,
                             .first_lsn = seal.first_lsn,
                             .last_lsn = seal.last_lsn,
                             .n_rows = seal.n_rows,
                             .difference = NO_SEAL};
    if (!unhex(slice__str(seal.token), s->token) || !unhex(slice__str(seal.hash), s->hash))
        return err__setf(e, ERR_SCHEMA, "seal at position %" PRIu64 " has no token", rec->lsn);
    log->n_seals++;
    return 0;
}

static int take_ack(struct pass *p, const struct spool_record *rec, struct err *e) {
    struct reader r = reader__of(rec->payload);
    struct slice token = reader__string(&r);
    if (!grow((void **)&p->acks, p->n_acks, &p->acks_cap, sizeof *p->acks))
        return err__setf(e, ERR_LIMIT, "too many acknowledgements, or out of memory");
    if (!r.failed && unhex(token, p->acks[p->n_acks].token)) p->n_acks++;
    return 0;
}

/* Refusals are few: a batch that has many is held. */
static int take_refusal(struct pass *p, const struct spool_record *rec, struct err *e) {
    struct refusal r;
    char name[64];
    if (refusal__decode(rec->payload, &r) != 0 || r.table.len >= sizeof name) return 0;
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(r.table));
    size_t table = table_index(p->options->store, name);
    if (table == p->options->store->n_tables) return 0;
    struct audit_log *log = p->log;
    if (!grow((void **)&log->refused, log->n_refused, &p->refused_cap, sizeof *log->refused))
        return err__setf(e, ERR_LIMIT, "too many refused rows, or out of memory");
    log->refused[log->n_refused++] =
        (struct audit_refused){.lsn = r.lsn, .ord = (uint32_t)r.ord, .table = (uint16_t)table};
    return 0;
}

/* The records that since and until select. */
static void take_place(struct pass *p, const struct spool_record *rec) {
    struct audit_log *log = p->log;
    if (rec->wall_ns < p->options->since_wall_ns ||
        (p->options->until_wall_ns > 0 && rec->wall_ns > p->options->until_wall_ns))
        return;
    if (log->to_lsn == 0) {
        log->from_lsn = rec->lsn;
        log->from_wall_ns = log->to_wall_ns = rec->wall_ns;
    }
    log->to_lsn = rec->next_lsn;
    if (rec->wall_ns < log->from_wall_ns) log->from_wall_ns = rec->wall_ns;
    if (rec->wall_ns > log->to_wall_ns) log->to_wall_ns = rec->wall_ns;
}

static int take_config(struct pass *p, const struct spool_record *rec, struct err *e) {
    struct audit_log *log = p->log;
    char *text = slice__dup(rec->payload);
    if (text == NULL ||
        !grow((void **)&log->contexts, log->n_contexts, &p->contexts_cap, sizeof *log->contexts)) {
        free(text);
        return err__setf(e, ERR_NOMEM, "audit: out of memory");
    }
    log->contexts[log->n_contexts++] = (struct audit_context){rec->lsn, text};
    return 0;
}

static int take_record(struct pass *p, const struct spool_record *rec, struct err *e) {
    struct audit_log *log = p->log;
    struct slice followed;
    log->n_records++;
    switch (rec->type) {
    case SPOOL_SEAL: return take_seal(p, rec, e);
    case SPOOL_ACK: return take_ack(p, rec, e);
    case SPOOL_CONFIG: p->has_config = true; return take_config(p, rec, e);
    case SPOOL_CHECKPOINT: /* Says what was followed at its low-water mark; the last one in front of
                            * a change says it of the nearest position. */
        if (p->has_config || p->options->followed_of == NULL ||
            !p->options->followed_of(rec->payload, &followed))
            break;
        free(log->followed);
        log->followed = slice__dup(followed);
        break;
    case SPOOL_PAGE:
    case SPOOL_REQUEST:
    case SPOOL_OPS: take_place(p, rec); break;
    case SPOOL_QUARANTINE: take_place(p, rec); return take_refusal(p, rec, e);
    default: break;
    }
    return 0;
}

static void take_damage(struct audit_log *log, const struct spool_scan *scan) {
    struct spool_scan_damage d;
    spool_scan__damage(scan, &d);
    uint64_t base = d.segment * log->info.segment_bytes;
    bool whole = d.from == 0 && d.to == 0;
    struct audit_damage range = {base + d.from, base + (whole ? log->info.segment_bytes : d.to)};
    log->damaged_bytes += range.to - range.from;
    if (log->n_damage < DAMAGE_MAX) log->damage[log->n_damage++] = range;
    else if (range.to > log->damage[DAMAGE_MAX - 1].to) /* Too many: the last covers the rest. */
        log->damage[DAMAGE_MAX - 1].to = range.to;
}

bool audit_log__is_damaged(const struct audit_log *log, uint64_t lsn) {
    for (size_t i = 0; i < log->n_damage; i++)
        if (lsn >= log->damage[i].from && lsn < log->damage[i].to) return true;
    return false;
}

static int by_place(const void *a, const void *b) {
    const struct audit_refused *x = a, *y = b;
    if (x->table != y->table) return x->table < y->table ? -1 : 1;
    if (x->lsn != y->lsn) return x->lsn < y->lsn ? -1 : 1;
    return x->ord < y->ord ? -1 : x->ord > y->ord;
}

bool audit_log__is_refused(const struct audit_log *log, size_t table, uint64_t lsn, uint32_t ord) {
    struct audit_refused key = {.table = (uint16_t)table, .lsn = lsn, .ord = ord};
    return log->n_refused > 0 &&
           bsearch(&key, log->refused, log->n_refused, sizeof key, by_place) != NULL;
}

static int by_token(const void *a, const void *b) { return memcmp(a, b, 16); }

static int by_range(const void *a, const void *b) {
    const struct audit_seal *x = a, *y = b;
    if (x->table != y->table) return x->table < y->table ? -1 : 1;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    if (x->day != y->day) return x->day < y->day ? -1 : 1;
    if (x->first_lsn != y->first_lsn) return x->first_lsn < y->first_lsn ? -1 : 1;
    return x->last_lsn < y->last_lsn ? -1 : x->last_lsn > y->last_lsn;
}

static bool is_partial(const struct audit_log *log, const struct audit_seal *s) {
    if (s->first_lsn < log->from_lsn || s->last_lsn >= log->to_lsn) return true;
    for (size_t i = 0; i < log->n_damage; i++)
        if (log->damage[i].to > s->first_lsn && log->damage[i].from <= s->last_lsn) return true;
    return false;
}

static void finish(struct pass *p) {
    struct audit_log *log = p->log;
    struct audit_seal *seals = log->seals;
    if (log->n_refused > 0) qsort(log->refused, log->n_refused, sizeof *log->refused, by_place);
    if (log->n_seals == 0) return;
    if (p->n_acks > 0) qsort(p->acks, p->n_acks, sizeof *p->acks, by_token);
    qsort(seals, log->n_seals, sizeof *seals, by_token); /* The token comes first in it. */
    size_t n = 0;
    for (size_t i = 0; i < log->n_seals; i++) {
        /* Written twice, as its first sync failed: one batch all the same. */
        if (n > 0 && memcmp(seals[n - 1].token, seals[i].token, 16) == 0) continue;
        seals[n] = seals[i];
        /* The low-water mark is that of pages' own rows. */
        bool derived = p->options->store->tables[seals[n].table]->derived;
        seals[n].acked = (!derived && seals[n].last_lsn < log->info.low_water_lsn) ||
                         (p->n_acks > 0 && bsearch(seals[n].token, p->acks, p->n_acks,
                                                   sizeof *p->acks, by_token) != NULL);
        seals[n].partial = is_partial(log, &seals[n]);
        n++;
    }
    log->n_seals = n;
    qsort(seals, n, sizeof *seals, by_range);
    for (size_t i = 0; i < n; i++) {
        seals[i].max_last_lsn = seals[i].last_lsn;
        if (i > 0 && seals[i - 1].table == seals[i].table && seals[i - 1].part == seals[i].part &&
            seals[i - 1].day == seals[i].day && seals[i - 1].max_last_lsn > seals[i].last_lsn)
            seals[i].max_last_lsn = seals[i - 1].max_last_lsn;
    }
}

int audit_log__read(struct audit_log *log, const struct audit_options *options, struct err *e) {
    struct pass p = {.log = log, .options = options};
    struct spool_scan *scan;
    struct spool_record rec;
    *log = (struct audit_log){0};
    int status = spool_scan__open(&scan, options->spool_dir, e);
    if (status != 0) return status;
    spool_scan__info(scan, &log->info);
    if (log->info.store_id[0] == '\0') { /* Equal to nothing is not equal. */
        spool_scan__close(scan);
        return err__setf(e, ERR_NOT_FOUND, "there is no log in %.150s", options->spool_dir);
    }
    while ((status = spool_scan__next(scan, &rec, e)) != 0) {
        if (status == ERR_CORRUPT) {
            take_damage(log, scan);
            continue;
        }
        if (status == 1) status = take_record(&p, &rec, e);
        if (status != 0) break;
    }
    spool_scan__info(scan, &log->info);
    log->info.checkpoint = (struct slice){0}; /* Gone with the scan. */
    spool_scan__close(scan);
    if (log->followed == NULL) log->followed = strdup(options->followed);
    if (status == 0 && log->followed == NULL)
        status = err__setf(e, ERR_NOMEM, "audit: out of memory");
    if (status == 0) finish(&p);
    free(p.acks);
    return status;
}

void audit_log__starts_at(struct audit_log *log, uint64_t lsn) {
    if (lsn <= log->from_lsn) return;
    log->from_lsn = lsn;
    for (size_t i = 0; i < log->n_seals; i++)
        log->seals[i].partial |= log->seals[i].first_lsn < lsn;
}

const char *audit_log__followed_at(const struct audit_log *log, uint64_t lsn) {
    const char *text = log->followed;
    for (size_t i = 0; i < log->n_contexts && log->contexts[i].lsn <= lsn; i++)
        text = log->contexts[i].followed;
    return text;
}

void audit_log__fini(struct audit_log *log) {
    free(log->seals);
    free(log->parts);
    free(log->refused);
    free(log->followed);
    for (size_t i = 0; i < log->n_contexts; i++) free(log->contexts[i].followed);
    free(log->contexts);
    *log = (struct audit_log){0};
}

static bool same_group(const struct audit_seal *s, size_t table, size_t part, int32_t day) {
    return s->table == table && s->part == part && s->day == day;
}

uint32_t audit_log__find(const struct audit_log *log, size_t table, const char *name, int32_t day,
                         uint64_t lsn) {
    size_t part = audit_log__part(log, name), low = 0, high = log->n_seals;
    if (part == PARTS_MAX) return NO_SEAL;
    struct audit_seal key = {.table = (uint16_t)table,
                             .part = (uint16_t)part,
                             .day = day,
                             .first_lsn = lsn,
                             .last_lsn = UINT64_MAX};
    while (low < high) { /* The first behind all that start at or below @lsn. */
        size_t mid = low + (high - low) / 2;
        if (by_range(&log->seals[mid], &key) <= 0) low = mid + 1;
        else high = mid;
    }
    uint32_t best = NO_SEAL, full = NO_SEAL;
    for (size_t i = low; i-- > 0;) {
        const struct audit_seal *s = &log->seals[i];
        if (!same_group(s, table, part, day) || s->max_last_lsn < lsn) break;
        if (s->last_lsn < lsn) continue;
        uint32_t *at = s->log_rows < s->n_rows ? &best : &full;
        if (*at == NO_SEAL ||
            s->last_lsn - s->first_lsn < log->seals[*at].last_lsn - log->seals[*at].first_lsn)
            *at = (uint32_t)i;
    }
    return best != NO_SEAL ? best : full;
}
