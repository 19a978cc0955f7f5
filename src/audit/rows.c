/* Rows as ClickHouse's RowBinary has them, and their hashes, on both sides.
 *
 * RowBinary: numbers little-endian, DateTime64 and Decimal as the integers they are kept as, String
 * and LowCardinality(String) as VarUInt length and bytes, Array as VarUInt length and elements. */
#include "audit_internal.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static size_t column_index(const struct table_desc *t, const char *name) {
    for (size_t i = 0; i < t->n_columns; i++)
        if (strcmp(t->columns[i].name, name) == 0) return i;
    return t->n_columns;
}

int shape__init(struct audit_shape *s, const struct table_desc *table, const struct schema *schema,
                struct err *e) {
    const struct schema_table *t = schema__find(schema, table->name);
    char name[64];
    *s = (struct audit_shape){.table = table};
    if (t == NULL || !expression__ttl(t->ttl, name, sizeof name, &s->ttl_days))
        return err__setf(e, ERR_SCHEMA, "table %s: its TTL names no column of time", table->name);
    s->time_column = column_index(table, name);
    s->part_column = column_index(table, "league_key");
    if (s->time_column == table->n_columns || table->columns[s->time_column].kind != COLUMN_I64 ||
        table->n_columns < 3 || column_index(table, "ord") != table->n_columns - 1)
        return err__setf(e, ERR_SCHEMA, "table %s: not src, lsn, ord at its end", table->name);
    s->time_name = table->columns[s->time_column].name;
    return 0;
}

void shape__hash_sql(const struct audit_shape *s, struct buf *out) {
    buf__append_str(out, "xxHash64(formatRow('RowBinary'");
    for (size_t i = 0; i < s->table->n_columns; i++)
        buf__printf(out, ",`%s`", s->table->columns[i].name);
    buf__append_str(out, "))");
}

void shape__part_sql(const struct audit_shape *s, struct buf *out) {
    if (s->part_column < s->table->n_columns) buf__append_str(out, "toString(league_key)");
    else buf__append_str(out, "''");
}

void shape__time_sql(const struct audit_shape *s, int64_t from_ms, int64_t to_ms, struct buf *out) {
    buf__printf(out,
                "(`%s` >= fromUnixTimestamp64Milli(toInt64(%" PRId64 "), 'UTC') AND `%s` <= "
                "fromUnixTimestamp64Milli(toInt64(%" PRId64 "), 'UTC'))",
                s->time_name, from_ms, s->time_name, to_ms);
}

static size_t width_of(enum column_kind kind) {
    switch (kind) {
    case COLUMN_U8: return 1;
    case COLUMN_U16: return 2;
    case COLUMN_U32:
    case COLUMN_I32:
    case COLUMN_F32: return 4;
    default: return 8;
    }
}

/* Where reading a column stands. */
struct column_cursor {
    struct reader data, offs;
    uint64_t n_before; /* Elements of the arrays so far. */
};

static void put_cell(struct column_cursor *c, enum column_kind kind, struct buf *out) {
    if (kind == COLUMN_STR) {
        buf__string(out, reader__string(&c->data));
    } else if (kind == COLUMN_ARR_F32) {
        uint64_t end = reader__u64(&c->offs), n = end - c->n_before;
        c->n_before = end;
        buf__varint(out, n);
        buf__append_slice(out, reader__bytes(&c->data, (size_t)n * sizeof(float)));
    } else {
        buf__append_slice(out, reader__bytes(&c->data, width_of(kind)));
    }
}

int shape__prints(const struct audit_shape *s, const struct batch *b, struct row_print *out) {
    const struct table_desc *t = s->table;
    struct column_cursor cursors[BATCH_COLUMNS_MAX];
    struct buf row = buf__init(BATCH_COLUMN_BYTES_MAX);
    bool failed = false;
    for (size_t i = 0; i < t->n_columns; i++)
        cursors[i] = (struct column_cursor){.data = reader__of(buf__slice(&b->columns[i].data)),
                                            .offs = reader__of(buf__slice(&b->columns[i].offs))};
    for (size_t r = 0; r < b->n_rows; r++) {
        buf__clear(&row);
        for (size_t i = 0; i < t->n_columns; i++) {
            size_t before = row.len;
            put_cell(&cursors[i], t->columns[i].kind, &row);
            failed |= row.failed || cursors[i].data.failed || cursors[i].offs.failed;
            if (failed) break;
            if (i == s->time_column) memcpy(&out[r].time_ms, row.base + before, 8);
            if (i == t->n_columns - 1) memcpy(&out[r].ord, row.base + before, 4);
        }
        if (failed) break;
        out[r].hash = XXH64(row.base, row.len, 0);
    }
    buf__fini(&row);
    return failed ? ERR_NOMEM : 0; /* The batch is our own, so it is not malformed. */
}
