/* Derived tables: their rows depend on all of the log before them, so they cannot be made again
 * from a part of it. What was sealed is compared with what is there by number: rows of each
 * acknowledged batch, and places (src, lsn, ord) that are there more than once. Their content is
 * not compared. */
#include "audit_internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct counting {
    struct audit *a;
    size_t table;
    bool malformed;
};

/* A batch may be sealed by the record's day, and its rows lie on the page's: a second before. */
static uint32_t find_seal(const struct audit *a, size_t table, const char *part, int32_t day,
                          uint64_t lsn) {
    uint32_t seal = audit_log__find(&a->log, table, part, day, lsn);
    if (seal == NO_SEAL) seal = audit_log__find(&a->log, table, part, day + 1, lsn);
    return seal;
}

/* Whether a seal of the partition lies behind @lsn: what is not covered then never will be. A
 * running souk may have sealed others since the log was read. */
static bool is_passed(const struct audit *a, size_t table, const char *part, uint64_t lsn) {
    size_t p = audit_log__part(&a->log, part);
    for (size_t i = 0; i < a->log.n_seals; i++) {
        const struct audit_seal *s = &a->log.seals[i];
        if (s->table == table && s->part == p && s->first_lsn > lsn) return true;
    }
    return false;
}

static void on_page(void *data, const struct slice *cells, size_t n_cells) {
    struct counting *c = data;
    struct audit *a = c->a;
    int64_t lsn, n, places, day;
    char part[64];
    if (n_cells != 5 || !slice__int64(cells[0], &lsn) || !slice__int64(cells[2], &n) ||
        !slice__int64(cells[3], &places) || !slice__int64(cells[4], &day)) {
        c->malformed = true;
        return;
    }
    snprintf(part, sizeof part, "%.*s", SLICE_FMT(cells[1]));
    uint32_t seal = find_seal(a, c->table, part, (int32_t)day, (uint64_t)lsn);
    if (seal != NO_SEAL) a->log.seals[seal].found += (uint64_t)places;
    if (n > places)
        audit__blame(a, c->table, seal, AUDIT_TWICE, "", (uint64_t)lsn, 0, (uint64_t)(n - places));
    if (seal != NO_SEAL || !is_passed(a, c->table, part, (uint64_t)lsn)) return;
    if (audit_log__is_damaged(&a->log, (uint64_t)lsn))
        a->report->tables[c->table].damaged += (uint64_t)places;
    else
        audit__blame(a, c->table, NO_SEAL, AUDIT_UNCOVERED, "", (uint64_t)lsn, 0, (uint64_t)places);
}

/* When the first page was received, a moment before it was logged: the windows have met its rows.
 * What is older may be of another log, with the same positions. */
static int64_t first_ms(const struct audit *a) {
    int64_t ms = a->log.from_wall_ns / NS_PER_MS;
    for (size_t i = 0; i < a->n_past; i++)
        for (size_t t = 0; t < a->report->n_tables; t++)
            if (a->past[i].tables[t].min_ms < ms) ms = a->past[i].tables[t].min_ms;
    return ms;
}

static int count_rows(struct counting *c, struct err *e) {
    struct audit *a = c->a;
    const struct audit_shape *shape = &a->shapes[c->table];
    struct buf sql = buf__init(1 << 16);
    buf__append_str(&sql, "SELECT lsn, ");
    shape__part_sql(shape, &sql);
    buf__printf(&sql,
                " AS part, count(), uniqExact(src, ord), intDiv(toUnixTimestamp64Milli(min(`%s`)), "
                "86400000) FROM %s.%s WHERE lsn >= %" PRIu64 " AND lsn < %" PRIu64 " AND ",
                shape->time_name, a->options->store->database, shape->table->name, a->log.from_lsn,
                a->log.to_lsn);
    shape__time_sql(shape, first_ms(a), a->log.to_wall_ns / NS_PER_MS, &sql);
    buf__append_str(&sql, " GROUP BY lsn, part ORDER BY lsn, part");
    buf__append(&sql, "", 1);
    int status = sql.failed ? err__setf(e, ERR_NOMEM, "audit: out of memory")
                            : store__ask(a->loop, a->options->store, sql.base, on_page, c, e);
    buf__fini(&sql);
    if (status == 0 && c->malformed)
        status = err__setf(e, ERR_PROTOCOL, "ClickHouse's answer is not what was asked for");
    return status;
}

static uint64_t refused_in(const struct audit *a, size_t table, const struct audit_seal *s) {
    uint64_t n = 0;
    for (size_t i = 0; i < a->log.n_refused; i++) {
        const struct audit_refused *r = &a->log.refused[i];
        n += r->table == table && r->lsn >= s->first_lsn && r->lsn <= s->last_lsn;
    }
    return n;
}

static bool is_expired(const struct audit *a, size_t table, const struct audit_seal *s) {
    const struct audit_shape *shape = &a->shapes[table];
    int64_t day_ms = 86400 * MS_PER_S;
    return shape->has_ttl && ((int64_t)s->day + (int64_t)shape->ttl_days) * day_ms <= a->server_ms;
}

static void judge_seal(struct audit *a, size_t table, uint32_t i) {
    struct audit_seal *s = &a->log.seals[i];
    struct audit_table *report = &a->report->tables[table];
    s->log_rows = s->n_rows; /* Nobody knows better. */
    if (s->partial) return;
    if (!s->acked) {
        report->pending += s->n_rows;
        return;
    }
    report->rows += s->n_rows;
    report->equal += s->found < s->n_rows ? s->found : s->n_rows;
    if (s->found > s->n_rows)
        audit__blame(a, table, i, AUDIT_UNCOVERED, "", s->first_lsn, 0, s->found - s->n_rows);
    if (s->found >= s->n_rows) return;
    uint64_t less = s->n_rows - s->found, refused = refused_in(a, table, s);
    if (refused > less) refused = less;
    s->quarantined += refused;
    report->quarantined += refused;
    less -= refused;
    if (less == 0) return;
    if (is_expired(a, table, s)) report->expired += less;
    else audit__blame(a, table, i, AUDIT_MISSING, "", s->first_lsn, 0, less);
}

int audit__count_derived(struct audit *a, struct err *e) {
    int status = 0;
    for (size_t t = 0; status == 0 && t < a->report->n_tables; t++) {
        if (!a->options->store->tables[t]->derived) continue;
        struct counting c = {.a = a, .table = t};
        a->report->tables[t].counted_only = true;
        bool usable = a->shapes[t].unusable[0] == '\0';
        if (usable) status = count_rows(&c, e);
        for (uint32_t i = 0; status == 0 && usable && i < a->log.n_seals; i++)
            if (a->log.seals[i].table == t && a->log.seals[i].last_lsn >= a->log.from_lsn &&
                a->log.seals[i].first_lsn < a->log.to_lsn)
                judge_seal(a, t, i);
    }
    return status;
}
