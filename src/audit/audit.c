/* The audit from end to end: read the log once for its seals, once more for its rows, window by
 * window; then look for rows that nobody knows, and sum up by seal. */
#include "audit_internal.h"
#include "souk/record_rows.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW_ROWS ((size_t)1 << 18)
#define WINDOW_PAGES ((size_t)1 << 16)
#define WINDOW_BYTES                                                                               \
    ((size_t)1 << 30)  /* That the server reads for one answer: raw pages are large. */
#define RESEALS_MAX 16 /* Seals whose content is looked at again. */
/* Behind the end of what was read, a running souk goes on: rows this close to it are its. */
#define TAIL_MS (60 * MS_PER_S)

const char *audit_what__text(enum audit_what what) {
    static const char *const texts[] = {[AUDIT_MISSING] = "missing",
                                        [AUDIT_TWICE] = "twice",
                                        [AUDIT_WRONG] = "wrong",
                                        [AUDIT_UNCOVERED] = "uncovered"};
    assert(what >= 0 && (size_t)what < sizeof texts / sizeof *texts);
    return texts[what];
}

/* Differences. */

struct audit_difference *audit__difference(struct audit *a, size_t table, uint32_t seal) {
    uint32_t *at = seal == NO_SEAL ? &a->unsealed[table] : &a->log.seals[seal].difference;
    if (*at != NO_SEAL) return *at == UNNAMED ? NULL : &a->differences[*at];
    a->report->n_differences++;
    if (a->n_differences == AUDIT_DIFFERENCES_MAX) {
        *at = UNNAMED;
        return NULL;
    }
    struct audit_difference *d = &a->differences[a->n_differences];
    *at = (uint32_t)a->n_differences++;
    *d = (struct audit_difference){.table = a->report->tables[table].name};
    if (seal == NO_SEAL) return d;
    const struct audit_seal *s = &a->log.seals[seal];
    d->has_seal = true;
    d->first_lsn = s->first_lsn;
    d->last_lsn = s->last_lsn;
    d->sealed_rows = s->n_rows;
    snprintf(d->part, sizeof d->part, "%s", a->log.parts[s->part]);
    return d;
}

void audit__blame(struct audit *a, size_t table, uint32_t seal, enum audit_what what,
                  const char *src, uint64_t lsn, uint32_t ord, uint64_t n) {
    struct audit_table *t = &a->report->tables[table];
    struct audit_seal *s = seal == NO_SEAL ? NULL : &a->log.seals[seal];
    struct audit_difference *d = audit__difference(a, table, seal);
    switch (what) {
    case AUDIT_MISSING: t->missing += n; break;
    case AUDIT_TWICE: t->twice += n; break;
    case AUDIT_WRONG: t->wrong += n; break;
    case AUDIT_UNCOVERED: t->uncovered += n; break;
    }
    if (s != NULL) {
        s->missing += what == AUDIT_MISSING ? n : 0;
        s->twice += what == AUDIT_TWICE ? n : 0;
        s->wrong += what == AUDIT_WRONG ? n : 0;
    }
    if (d == NULL) return;
    d->missing += what == AUDIT_MISSING ? n : 0;
    d->twice += what == AUDIT_TWICE ? n : 0;
    d->wrong += what == AUDIT_WRONG ? n : 0;
    d->uncovered += what == AUDIT_UNCOVERED ? n : 0;
    if (d->n_rows == AUDIT_EXAMPLES_MAX) return;
    struct audit_row *row = &d->rows[d->n_rows++];
    *row = (struct audit_row){.what = what, .lsn = lsn, .ord = ord};
    snprintf(row->src, sizeof row->src, "%s", src);
}

/* Before the rows: what the server is and has. */

static void on_now(void *data, const struct slice *cells, size_t n_cells) {
    if (n_cells == 1) slice__int64(cells[0], data);
}

/* Columns that are gone or of another type cannot be compared; that is one difference a table. */
static void note_schema(struct audit *a, const struct schema_diff *diff) {
    for (size_t i = 0; i < diff->n; i++) {
        const struct schema_difference *x = &diff->items[i];
        if (x->kind != SCHEMA_TABLE && x->kind != SCHEMA_COLUMN && x->kind != SCHEMA_TYPE &&
            x->kind != SCHEMA_ENGINE)
            continue;
        for (size_t k = 0; k < a->report->n_tables; k++) {
            if (strcmp(a->report->tables[k].name, x->table) != 0 ||
                a->shapes[k].unusable[0] != '\0')
                continue;
            snprintf(a->shapes[k].unusable, sizeof a->shapes[k].unusable,
                     "%.80s: not compared; see souk schema diff", x->what);
            struct audit_difference *d = audit__difference(a, k, NO_SEAL);
            if (d != NULL) snprintf(d->note, sizeof d->note, "%s", a->shapes[k].unusable);
        }
    }
}

/* The live table's TTL counts, not ours: an operator may have set another. */
static void take_ttl(struct audit *a, const struct schema *live) {
    for (size_t i = 0; i < a->report->n_tables; i++) {
        const struct schema_table *t = schema__find(live, a->report->tables[i].name);
        char column[64];
        uint32_t days = 0;
        if (t == NULL) continue;
        a->shapes[i].has_ttl = expression__ttl(t->ttl, column, sizeof column, &days) &&
                               strcmp(column, a->shapes[i].time_name) == 0;
        a->shapes[i].ttl_days = days;
    }
}

static int look_at_server(struct audit *a, struct err *e) {
    const struct store_options *store = a->options->store;
    struct schema expected, live = {0};
    struct schema_diff diff = {0};
    bool has_database;
    int status = schema__expected(&expected, e);
    for (size_t i = 0; status == 0 && i < store->n_tables; i++)
        status = shape__init(&a->shapes[i], store->tables[i], &expected, e);
    if (status == 0)
        status = store__ask(a->loop, store, "SELECT toUnixTimestamp64Milli(now64(3))", on_now,
                            &a->server_ms, e);
    if (status == 0) status = schema__live(a->loop, store, &expected, &has_database, &live, e);
    if (status == 0) status = schema__compare(store->database, &expected, &live, &diff, e);
    if (status == 0) {
        take_ttl(a, &live);
        note_schema(a, &diff);
    }
    schema_diff__fini(&diff);
    schema__fini(&live);
    schema__fini(&expected);
    return status;
}

/* The rows. */

static size_t table_index(const struct audit *a, const struct table_desc *table) {
    for (size_t i = 0; i < a->report->n_tables; i++)
        if (a->options->store->tables[i] == table) return i;
    return a->report->n_tables;
}

static int add_record(struct audit *a, struct record_decoder *decoder,
                      const struct spool_record *rec, struct err *e) {
    struct rows rows;
    bool wanted = rec->lsn >= a->log.from_lsn && rec->lsn < a->log.to_lsn;
    if (!wanted && rec->type != SPOOL_CONFIG) return 0;
    if (record_decoder__rows(decoder, rec, &rows) != 0)
        return err__setf(e, ERR_NOMEM, "audit: record at position %" PRIu64 ": out of memory",
                         rec->lsn);
    int status = 0;
    for (size_t i = 0; i < rows.n && status == 0; i++) {
        const struct rows_batch *rb = &rows.batches[i];
        size_t table = table_index(a, rb->batch.table);
        if (table < a->report->n_tables && rb->batch.n_rows > 0 && !rb->batch.table->latest_wins)
            status = audit_window__add(a, table, rb->part, clock__day(rec->wall_ns), rec->lsn,
                                       &rb->batch, e);
    }
    rows__fini(&rows);
    return status;
}

static int compare_up_to(struct audit *a, uint64_t lsn, struct err *e) {
    a->window.to_lsn = lsn;
    return audit_window__compare(a, e);
}

static int read_rows(struct audit *a, struct err *e) {
    struct record_decoder *decoder =
        record_decoder__new(audit_log__followed_at(&a->log, a->log.from_lsn));
    struct spool_scan *scan = NULL;
    struct spool_record rec;
    int status = decoder == NULL ? err__setf(e, ERR_NOMEM, "audit: out of memory")
                                 : spool_scan__open(&scan, a->options->spool_dir, e);
    if (status == 0) { /* A running souk may have retired segments since the first reading. */
        struct spool_scan_info info;
        spool_scan__info(scan, &info);
        audit_log__starts_at(&a->log, info.first_lsn);
        spool_scan__seek(scan, a->log.from_lsn);
    }
    audit_window__clear(&a->window, a->log.from_lsn);
    while (status == 0) {
        int code = spool_scan__next(scan, &rec, e);
        if (code == ERR_CORRUPT) continue; /* Noted by the first reading. */
        if (code != 1 || rec.lsn >= a->log.to_lsn) {
            status = code < 0 ? code : 0;
            break;
        }
        if (a->window.n_rows >= WINDOW_ROWS || a->window.n_pages >= WINDOW_PAGES ||
            a->window.bytes >= WINDOW_BYTES)
            status = compare_up_to(a, rec.lsn, e);
        if (status == 0) status = add_record(a, decoder, &rec, e);
    }
    if (status == 0) status = compare_up_to(a, a->log.to_lsn, e);
    spool_scan__close(scan);
    record_decoder__free(decoder);
    return status;
}

/* Rows that nobody knows. */

struct strangers {
    struct audit *a;
    size_t table;
    uint64_t total; /* The last count. */
};

static void on_stranger(void *data, const struct slice *cells, size_t n_cells) {
    struct strangers *s = data;
    int64_t lsn = 0, ord = 0, n = 0;
    if (n_cells == 1 && slice__int64(cells[0], &n)) {
        s->total = (uint64_t)n;
    } else if (n_cells == 4 && slice__int64(cells[1], &lsn) && slice__int64(cells[2], &ord) &&
               slice__int64(cells[3], &n)) {
        char src[32];
        snprintf(src, sizeof src, "%.*s", SLICE_FMT(cells[0]));
        if (audit_log__is_damaged(&s->a->log, (uint64_t)lsn))
            s->a->report->tables[s->table].damaged += (uint64_t)n;
        else
            audit__blame(s->a, s->table, NO_SEAL, AUDIT_UNCOVERED, src, (uint64_t)lsn,
                         (uint32_t)ord, (uint64_t)n);
    }
}

/* Asks "SELECT @what FROM the table WHERE @where @behind". */
static int ask(struct strangers *s, const char *what, const struct buf *where, const char *behind,
               struct err *e) {
    struct buf sql = buf__init(1 << 16);
    const char *ours = s->a->shapes[s->table].table->ours;
    buf__printf(&sql, "SELECT %s FROM %s.%s WHERE (%s) AND %.*s%s", what,
                s->a->options->store->database, s->a->report->tables[s->table].name,
                ours == NULL ? "1" : ours, SLICE_FMT(buf__slice(where)), behind);
    buf__append(&sql, "", 1);
    s->total = 0;
    int status = sql.failed || where->failed
                     ? err__setf(e, ERR_NOMEM, "audit: out of memory")
                     : store__ask(s->a->loop, s->a->options->store, sql.base, on_stranger, s, e);
    buf__fini(&sql);
    return status;
}

static void put_time(const struct strangers *s, struct buf *out) {
    shape__time_sql(&s->a->shapes[s->table], s->a->log.from_wall_ns / NS_PER_MS,
                    s->a->log.to_wall_ns / NS_PER_MS, out);
}

/* Positions that this log never had, at times that it has. */
static void put_outside(const struct strangers *s, struct buf *out) {
    const struct audit_log *log = &s->a->log;
    put_time(s, out);
    buf__printf(out, " AND (lsn < %" PRIu64 " OR (lsn >= %" PRIu64 " AND ", log->info.first_lsn,
                log->info.end_lsn);
    shape__time_sql(&s->a->shapes[s->table], log->from_wall_ns / NS_PER_MS,
                    log->to_wall_ns / NS_PER_MS - TAIL_MS, out);
    buf__append_str(out, "))");
}

/* Positions of a window, at times at which the window had no rows. */
static void put_elsewhen(const struct strangers *s, const struct audit_past *w, struct buf *out) {
    int64_t min_ms = w->tables[s->table].min_ms, max_ms = w->tables[s->table].max_ms;
    put_time(s, out);
    buf__printf(out, " AND lsn >= %" PRIu64 " AND lsn < %" PRIu64, w->from_lsn, w->to_lsn);
    if (min_ms > max_ms) return;
    buf__append_str(out, " AND NOT ");
    shape__time_sql(&s->a->shapes[s->table], min_ms, max_ms, out);
}

static const char *const by_row = " GROUP BY src, lsn, ord ORDER BY lsn, ord LIMIT 100000";

static int search_table(struct strangers *s, struct buf *where, struct err *e) {
    struct audit *a = s->a;
    const struct audit_log *log = &a->log;
    buf__clear(where);
    put_outside(s, where);
    int status = ask(s, "toString(src), lsn, ord, count()", where, by_row, e);
    /* Inside its positions: only if there is more than the windows met. */
    buf__clear(where);
    put_time(s, where);
    buf__printf(where, " AND lsn >= %" PRIu64 " AND lsn < %" PRIu64, log->from_lsn, log->to_lsn);
    if (status == 0) status = ask(s, "count()", where, "", e);
    bool more = s->total > a->in_time[s->table];
    for (size_t i = 0; status == 0 && more && i < a->n_past; i++) {
        buf__clear(where);
        put_elsewhen(s, &a->past[i], where);
        status = ask(s, "toString(src), lsn, ord, count()", where, by_row, e);
    }
    buf__clear(where);
    shape__time_sql(&a->shapes[s->table], INT64_C(-2000000000000),
                    log->from_wall_ns / NS_PER_MS - 1, where);
    if (status == 0) status = ask(s, "count()", where, "", e);
    if (status == 0)
        a->report->tables[s->table].before =
            s->total < a->out_of_time[s->table] ? 0 : s->total - a->out_of_time[s->table];
    return status;
}

static int search_strangers(struct audit *a, struct err *e) {
    struct buf where = buf__init(1 << 14);
    int status = 0;
    for (size_t i = 0; status == 0 && i < a->report->n_tables; i++) {
        struct strangers s = {.a = a, .table = i};
        if (a->options->store->tables[i]->derived) continue; /* derived.c has done that. */
        if (a->shapes[i].unusable[0] == '\0' && !a->options->store->tables[i]->latest_wins)
            status = search_table(&s, &where, e);
    }
    buf__fini(&where);
    return status;
}

/* Seals, in the end. */

static void sum_up(struct audit *a) {
    for (size_t i = 0; i < a->log.n_seals; i++) {
        struct audit_seal *s = &a->log.seals[i];
        struct audit_table *t = &a->report->tables[s->table];
        if (s->last_lsn < a->log.from_lsn || s->first_lsn >= a->log.to_lsn) continue;
        bool unusable = a->shapes[s->table].unusable[0] != '\0';
        a->report->seals_partial += s->partial;
        if (!s->partial && s->log_rows != s->n_rows) {
            struct audit_difference *d = audit__difference(a, s->table, (uint32_t)i);
            if (d != NULL)
                snprintf(d->note, sizeof d->note,
                         "its pages make %" PRIu64 " rows now: the log was damaged, or other "
                         "decoders sealed it",
                         s->log_rows);
        }
        if (s->difference < UNNAMED) {
            struct audit_difference *d = &a->differences[s->difference];
            d->log_rows = s->log_rows;
            d->found_rows = s->found;
        }
        t->batches++;
        if (unusable || s->difference != NO_SEAL || s->missing + s->twice + s->wrong > 0)
            t->batches_different++;
        else if (s->acked) t->batches_equal++;
        else t->batches_pending++;
    }
}

/* Where content differs: is it the log's or the table's? */
static int explain(struct audit *a, struct err *e) {
    int n[STORE_TABLES_MAX] = {0};
    for (uint32_t i = 0; i < a->log.n_seals; i++) {
        const struct audit_seal *s = &a->log.seals[i];
        bool same;
        if (s->difference >= UNNAMED || s->wrong == 0 || s->partial || n[s->table]++ >= RESEALS_MAX)
            continue;
        int status = audit__is_as_sealed(a, i, &same, e);
        if (status != 0) return status;
        struct audit_difference *d = &a->differences[s->difference];
        if (!same && d->note[0] == '\0')
            snprintf(d->note, sizeof d->note,
                     "its pages make other rows now than were sealed: other decoders, or leagues "
                     "that are followed, made these");
    }
    return 0;
}

static int by_place(const void *x, const void *y) {
    const struct audit_difference *a = x, *b = y;
    int order = strcmp(a->table, b->table);
    if (order != 0) return order;
    if (a->has_seal != b->has_seal) return a->has_seal ? -1 : 1;
    if (a->first_lsn != b->first_lsn) return a->first_lsn < b->first_lsn ? -1 : 1;
    return a->last_lsn < b->last_lsn ? -1 : a->last_lsn > b->last_lsn;
}

static void tell(struct audit *a) {
    struct audit_report *r = a->report;
    memcpy(r->store_id, a->log.info.store_id, sizeof r->store_id);
    r->from_lsn = a->log.from_lsn;
    r->to_lsn = a->log.to_lsn;
    r->from_wall_ns = a->log.from_wall_ns;
    r->to_wall_ns = a->log.to_wall_ns;
    r->n_records = a->log.n_records;
    r->damaged_bytes = a->log.damaged_bytes;
    qsort(a->differences, a->n_differences, sizeof *a->differences, by_place);
    for (size_t i = 0; i < a->n_differences && a->options->on_difference != NULL; i++)
        a->options->on_difference(a->options->ctx, &a->differences[i]);
}

int audit__run(uv_loop_t *loop, const struct audit_options *options, struct audit_report *out,
               struct err *e) {
    struct audit *a = calloc(1, sizeof *a);
    *out = (struct audit_report){.n_tables = options->store->n_tables};
    for (size_t i = 0; i < out->n_tables; i++)
        out->tables[i].name = options->store->tables[i]->name;
    if (a != NULL) {
        *a = (struct audit){.loop = loop, .options = options, .report = out};
        a->differences = calloc(AUDIT_DIFFERENCES_MAX, sizeof *a->differences);
        for (size_t i = 0; i < STORE_TABLES_MAX; i++) a->unsealed[i] = NO_SEAL;
    }
    int status = a == NULL || a->differences == NULL
                     ? err__setf(e, ERR_NOMEM, "audit: out of memory")
                     : look_at_server(a, e);
    if (status == 0) status = audit_log__read(&a->log, options, e);
    if (status == 0 && a->log.to_lsn > 0) {
        status = read_rows(a, e);
        if (status == 0) status = search_strangers(a, e);
        if (status == 0) status = audit__count_derived(a, e);
        if (status == 0) sum_up(a);
        if (status == 0) status = explain(a, e);
    }
    if (status == 0) tell(a);
    if (a != NULL) {
        audit_window__fini(&a->window);
        audit_log__fini(&a->log);
        free(a->past);
        free(a->differences);
        free(a);
    }
    return status;
}
