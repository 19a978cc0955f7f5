/* One window of positions: gathering the rows that must be there, asking ClickHouse for the sums of
 * their pages, and for single rows where the sums differ. */
#include "audit_internal.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DETAIL_PAGES 256 /* Asked for row by row at once. */

/* Gathering. */

static bool room_for_rows(struct audit_window *w, size_t n) {
    if (w->cap - w->n_rows >= n) return true;
    size_t cap = w->cap == 0 ? 1 << 16 : w->cap;
    while (cap - w->n_rows < n) cap *= 2;
    struct row_print *grown = cap > UINT32_MAX ? NULL : realloc(w->rows, cap * sizeof *grown);
    if (grown == NULL) return false;
    w->rows = grown;
    w->cap = cap;
    return true;
}

static struct page_rows *new_page(struct audit_window *w, size_t table) {
    struct audit_window_table *t = &w->tables[table];
    if (t->n_pages == t->cap) {
        size_t cap = t->cap == 0 ? 1024 : t->cap * 2;
        struct page_rows *grown = realloc(t->pages, cap * sizeof *grown);
        if (grown == NULL) return NULL;
        t->pages = grown;
        t->cap = cap;
    }
    w->n_pages++;
    t->pages[t->n_pages] = (struct page_rows){0};
    return &t->pages[t->n_pages++];
}

/* The source's name is the third column from the end, the same in all rows of a page. */
static void take_src(const struct batch *rows, char *out, size_t size) {
    struct reader r = reader__of(buf__slice(&rows->columns[rows->table->n_columns - 3].data));
    struct slice src = reader__string(&r);
    snprintf(out, size, "%.*s", SLICE_FMT(src));
}

int audit_window__add(struct audit *a, size_t table, const char *part, int32_t day, uint64_t lsn,
                      const struct batch *rows, struct err *e) {
    struct audit_window *w = &a->window;
    struct audit_window_table *t = &w->tables[table];
    struct page_rows *p = room_for_rows(w, rows->n_rows) ? new_page(w, table) : NULL;
    struct row_print *prints = p == NULL ? NULL : w->rows + w->n_rows;
    size_t part_index = audit_log__add_part(&a->log, part);
    if (p == NULL || part_index == PARTS_MAX || shape__prints(&a->shapes[table], rows, prints) != 0)
        return err__setf(e, ERR_NOMEM, "audit: out of memory, or more than %d partitions",
                         PARTS_MAX);
    uint32_t seal = audit_log__find(&a->log, table, part, day, lsn);
    bool acked = lsn < a->log.info.low_water_lsn || (seal != NO_SEAL && a->log.seals[seal].acked);
    *p = (struct page_rows){.lsn = lsn,
                            .n = (uint32_t)rows->n_rows,
                            .first = (uint32_t)w->n_rows,
                            .seal = seal,
                            .part = (uint16_t)part_index,
                            .state = acked ? PAGE_ACKED : PAGE_PENDING};
    take_src(rows, p->src, sizeof p->src);
    for (size_t i = 0; i < rows->n_rows; i++) {
        p->sum += prints[i].hash;
        if (t->min_ms > t->max_ms) t->min_ms = t->max_ms = prints[i].time_ms;
        if (prints[i].time_ms < t->min_ms) t->min_ms = prints[i].time_ms;
        if (prints[i].time_ms > t->max_ms) t->max_ms = prints[i].time_ms;
    }
    w->n_rows += rows->n_rows;
    w->bytes += batch__bytes(rows);
    struct audit_table *report = &a->report->tables[table];
    if (seal != NO_SEAL) a->log.seals[seal].log_rows += rows->n_rows;
    if (acked) report->rows += rows->n_rows;
    else report->pending += rows->n_rows;
    if (!acked && seal != NO_SEAL) a->log.seals[seal].pending += rows->n_rows;
    return 0;
}

void audit_window__clear(struct audit_window *w, uint64_t from_lsn) {
    for (size_t i = 0; i < STORE_TABLES_MAX; i++) {
        w->tables[i].n_pages = 0;
        w->tables[i].min_ms = INT64_MAX;
        w->tables[i].max_ms = INT64_MIN;
    }
    w->n_rows = w->n_pages = w->bytes = 0;
    w->from_lsn = from_lsn;
}

void audit_window__fini(struct audit_window *w) {
    for (size_t i = 0; i < STORE_TABLES_MAX; i++) free(w->tables[i].pages);
    free(w->rows);
    *w = (struct audit_window){0};
}

/* Pages against sums. */

struct answer {
    struct audit *a;
    size_t table, at; /* The next page that no answer was met for. */
    size_t n_suspect;
    bool malformed;
};

static bool number(struct slice s, uint64_t *out) {
    char text[24];
    if (s.len == 0 || s.len >= sizeof text) return false;
    memcpy(text, s.base, s.len);
    text[s.len] = '\0';
    char *end;
    *out = strtoull(text, &end, 10);
    return *end == '\0';
}

static int compare_key(const struct audit *a, const struct page_rows *p, uint64_t lsn,
                       struct slice part) {
    if (p->lsn != lsn) return p->lsn < lsn ? -1 : 1;
    struct slice own = slice__str(a->log.parts[p->part]);
    size_t n = own.len < part.len ? own.len : part.len;
    int order = n == 0 ? 0 : memcmp(own.base, part.base, n);
    if (order != 0) return order;
    return own.len < part.len ? -1 : own.len > part.len;
}

static int by_key(const void *x, const void *y, void *audit) {
    const struct audit *a = audit;
    const struct page_rows *q = y;
    return compare_key(a, x, q->lsn, slice__str(a->log.parts[q->part]));
}

static void take_page(struct answer *n, struct page_rows *p, uint64_t found, uint64_t sum) {
    struct audit *a = n->a;
    struct audit_table *report = &a->report->tables[n->table];
    if (p->seal != NO_SEAL) a->log.seals[p->seal].found += found;
    if (found == p->n && sum == p->sum) {
        if (p->state == PAGE_ACKED) report->equal += p->n;
        return;
    }
    if (p->state == PAGE_PENDING && found < p->n) return; /* On its way. */
    p->suspect = true;
    n->n_suspect++;
}

static void on_page(void *data, const struct slice *cells, size_t n_cells) {
    struct answer *n = data;
    struct audit *a = n->a;
    struct audit_window_table *t = &a->window.tables[n->table];
    uint64_t lsn, found, sum, in_time;
    if (n_cells != 5 || !number(cells[0], &lsn) || !number(cells[2], &found) ||
        !number(cells[3], &sum) || !number(cells[4], &in_time)) {
        n->malformed = true;
        return;
    }
    a->in_time[n->table] += in_time;
    a->out_of_time[n->table] += found - in_time;
    int order = 1;
    while (n->at < t->n_pages && (order = compare_key(a, &t->pages[n->at], lsn, cells[1])) < 0)
        take_page(n, &t->pages[n->at++], 0, 0);
    if (n->at < t->n_pages && order == 0) {
        take_page(n, &t->pages[n->at++], found, sum);
    } else if (audit_log__is_damaged(&a->log, lsn)) {
        a->report->tables[n->table].damaged += found;
    } else {
        audit__blame(a, n->table, NO_SEAL, AUDIT_UNCOVERED, "", lsn, 0, found);
    }
}

static void put_from(const struct audit *a, size_t table, struct buf *sql) {
    const struct table_desc *t = a->shapes[table].table;
    buf__printf(sql, " FROM %s.%s WHERE ", a->options->store->database, t->name);
    if (t->ours != NULL) buf__printf(sql, "(%s) AND ", t->ours);
}

static int compare_pages(struct audit *a, size_t table, struct answer *n, struct err *e) {
    struct audit_window *w = &a->window;
    const struct audit_window_table *t = &w->tables[table];
    struct buf sql = buf__init(1 << 16);
    buf__append_str(&sql, "SELECT lsn, ");
    shape__part_sql(&a->shapes[table], &sql);
    buf__append_str(&sql, " AS part, count(), sum(");
    shape__hash_sql(&a->shapes[table], &sql);
    buf__append_str(&sql, "), countIf(");
    shape__time_sql(&a->shapes[table], a->log.from_wall_ns / NS_PER_MS,
                    a->log.to_wall_ns / NS_PER_MS, &sql);
    buf__append_str(&sql, ")");
    put_from(a, table, &sql);
    buf__printf(&sql, "lsn >= %" PRIu64 " AND lsn < %" PRIu64 " AND ", w->from_lsn, w->to_lsn);
    shape__time_sql(&a->shapes[table], t->min_ms, t->max_ms, &sql);
    buf__append_str(&sql, " GROUP BY lsn, part ORDER BY lsn, part");
    buf__append(&sql, "", 1);
    *n = (struct answer){.a = a, .table = table};
    int status = sql.failed ? err__setf(e, ERR_NOMEM, "audit: out of memory")
                            : store__ask(a->loop, a->options->store, sql.base, on_page, n, e);
    buf__fini(&sql);
    if (status == 0 && n->malformed)
        status = err__setf(e, ERR_PROTOCOL, "ClickHouse's answer is not what was asked for");
    while (status == 0 && n->at < t->n_pages) take_page(n, &t->pages[n->at++], 0, 0);
    return status;
}

/* Rows of suspect pages, one by one. */

struct found_row {
    uint64_t hash, n;
    uint32_t ord;
};

struct detail {
    struct audit *a;
    size_t table;
    struct page_rows *page; /* Whose rows are gathered; NULL at first. */
    size_t at, end;         /* Suspect pages not met yet are in between. */
    struct found_row *rows; /* Owned. */
    size_t n, cap;
    bool failed;
};

static int by_ord(const void *a, const void *b) {
    const struct row_print *x = a, *y = b;
    return x->ord < y->ord ? -1 : x->ord > y->ord;
}

static bool is_expired(const struct audit *a, size_t table, const struct row_print *row) {
    const struct audit_shape *s = &a->shapes[table];
    return s->has_ttl && row->time_ms + (int64_t)s->ttl_days * 86400 * MS_PER_S <= a->server_ms;
}

/* Judges row @row of @p, of which the rows [i, j) were found. */
static void judge_row(struct detail *d, const struct page_rows *p, const struct row_print *row,
                      size_t i, size_t j) {
    struct audit *a = d->a;
    struct audit_table *report = &a->report->tables[d->table];
    struct audit_seal *seal = p->seal == NO_SEAL ? NULL : &a->log.seals[p->seal];
    uint64_t same = 0, other = 0;
    for (size_t k = i; k < j; k++) *(d->rows[k].hash == row->hash ? &same : &other) += d->rows[k].n;
    uint64_t there = same + other;
    if (same > 0 && p->state == PAGE_ACKED) report->equal++;
    if (same == 0 && other > 0)
        audit__blame(a, d->table, p->seal, AUDIT_WRONG, p->src, p->lsn, row->ord, 1);
    if (there > 1)
        audit__blame(a, d->table, p->seal, AUDIT_TWICE, p->src, p->lsn, row->ord, there - 1);
    if (there > 0 || p->state == PAGE_PENDING) return;
    if (audit_log__is_refused(&a->log, d->table, p->lsn, row->ord)) {
        report->quarantined++;
        if (seal != NULL) seal->quarantined++;
    } else if (is_expired(a, d->table, row)) {
        report->expired++;
        if (seal != NULL) seal->expired++;
    } else {
        audit__blame(a, d->table, p->seal, AUDIT_MISSING, p->src, p->lsn, row->ord, 1);
    }
}

/* Both sides in order of ord. */
static void judge_page(struct detail *d, struct page_rows *p) {
    struct row_print *rows = d->a->window.rows + p->first;
    qsort(rows, p->n, sizeof *rows, by_ord);
    size_t at = 0;
    for (size_t i = 0; i < p->n; i++) {
        for (; at < d->n && d->rows[at].ord < rows[i].ord; at++)
            audit__blame(d->a, d->table, NO_SEAL, AUDIT_UNCOVERED, p->src, p->lsn, d->rows[at].ord,
                         d->rows[at].n);
        size_t end = at;
        while (end < d->n && d->rows[end].ord == rows[i].ord) end++;
        judge_row(d, p, &rows[i], at, end);
        at = end;
    }
    for (; at < d->n; at++)
        audit__blame(d->a, d->table, NO_SEAL, AUDIT_UNCOVERED, p->src, p->lsn, d->rows[at].ord,
                     d->rows[at].n);
    p->suspect = false;
    d->n = 0;
}

static struct page_rows *next_suspect(struct detail *d) {
    struct audit_window_table *t = &d->a->window.tables[d->table];
    while (d->at < d->end && !t->pages[d->at].suspect) d->at++;
    return d->at < d->end ? &t->pages[d->at] : NULL;
}

static void on_row(void *data, const struct slice *cells, size_t n_cells) {
    struct detail *d = data;
    uint64_t lsn, ord, hash, n;
    if (n_cells != 5 || !number(cells[0], &lsn) || !number(cells[2], &ord) ||
        !number(cells[3], &hash) || !number(cells[4], &n)) {
        d->failed = true;
        return;
    }
    /* Pages in front of this one have all their rows; a page whose rows are all gone has none. */
    struct page_rows *p;
    int order = 1;
    while ((p = next_suspect(d)) != NULL && (order = compare_key(d->a, p, lsn, cells[1])) < 0)
        judge_page(d, p);
    if (p == NULL || order != 0)
        return; /* Another partition of the page, which is as it should be. */
    if (d->n == d->cap) {
        size_t cap = d->cap == 0 ? 1024 : d->cap * 2;
        struct found_row *grown = realloc(d->rows, cap * sizeof *grown);
        if (grown == NULL) {
            d->failed = true;
            return;
        }
        d->rows = grown;
        d->cap = cap;
    }
    d->rows[d->n++] = (struct found_row){.hash = hash, .n = n, .ord = (uint32_t)ord};
}

static int ask_rows(struct detail *d, const struct buf *positions, struct err *e) {
    struct audit *a = d->a;
    const struct audit_window_table *t = &a->window.tables[d->table];
    struct buf sql = buf__init(1 << 17);
    buf__append_str(&sql, "SELECT lsn, ");
    shape__part_sql(&a->shapes[d->table], &sql);
    buf__append_str(&sql, " AS part, ord, ");
    shape__hash_sql(&a->shapes[d->table], &sql);
    buf__append_str(&sql, " AS hash, count()");
    put_from(a, d->table, &sql);
    buf__printf(&sql, "lsn IN (%.*s) AND ", SLICE_FMT(buf__slice(positions)));
    shape__time_sql(&a->shapes[d->table], t->min_ms, t->max_ms, &sql);
    buf__append_str(&sql, " GROUP BY lsn, part, ord, hash ORDER BY lsn, part, ord, hash");
    buf__append(&sql, "", 1);
    int status = sql.failed || positions->failed
                     ? err__setf(e, ERR_NOMEM, "audit: out of memory")
                     : store__ask(a->loop, a->options->store, sql.base, on_row, d, e);
    buf__fini(&sql);
    if (status == 0 && d->failed)
        status = err__setf(e, ERR_PROTOCOL, "ClickHouse's answer is not what was asked for");
    for (struct page_rows *p; status == 0 && (p = next_suspect(d)) != NULL;) judge_page(d, p);
    return status;
}

static int compare_rows(struct audit *a, size_t table, struct err *e) {
    const struct audit_window_table *t = &a->window.tables[table];
    struct detail d = {.a = a, .table = table};
    struct buf positions = buf__init(1 << 16);
    int status = 0;
    while (status == 0 && d.end < t->n_pages) {
        size_t n = 0;
        buf__clear(&positions);
        d.at = d.end;
        for (; d.end < t->n_pages && n < DETAIL_PAGES; d.end++)
            if (t->pages[d.end].suspect)
                buf__printf(&positions, "%s%" PRIu64, n++ == 0 ? "" : ",", t->pages[d.end].lsn);
        if (n > 0) status = ask_rows(&d, &positions, e);
    }
    buf__fini(&positions);
    free(d.rows);
    return status;
}

static int remember(struct audit *a, struct err *e) {
    struct audit_past *grown = realloc(a->past, (a->n_past + 1) * sizeof *grown);
    if (grown == NULL) return err__setf(e, ERR_NOMEM, "audit: out of memory");
    a->past = grown;
    struct audit_past *p = &grown[a->n_past++];
    *p = (struct audit_past){.from_lsn = a->window.from_lsn, .to_lsn = a->window.to_lsn};
    for (size_t i = 0; i < a->report->n_tables; i++) {
        p->tables[i].min_ms = a->window.tables[i].min_ms;
        p->tables[i].max_ms = a->window.tables[i].max_ms;
    }
    return 0;
}

int audit_window__compare(struct audit *a, struct err *e) {
    int status = remember(a, e);
    for (size_t i = 0; status == 0 && i < a->report->n_tables; i++) {
        struct audit_window_table *t = &a->window.tables[i];
        struct answer n;
        if (t->n_pages == 0 || a->shapes[i].unusable[0] != '\0') continue;
        qsort_r(t->pages, t->n_pages, sizeof *t->pages, by_key, a);
        status = compare_pages(a, i, &n, e);
        if (status == 0 && n.n_suspect > 0) status = compare_rows(a, i, e);
    }
    audit_window__clear(&a->window, a->window.to_lsn);
    return status;
}
