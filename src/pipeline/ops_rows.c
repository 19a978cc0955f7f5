/* OPS records to rows, by the names of the columns. What can fail: a payload that is no such object
 * or names no table here (another souk wrote it), and a field of another type. */
#include "souk/ops_rows.h"
#include "souk/decode.h"
#include "souk/quality.h"
#include "souk/tables.h"
#include <stdio.h>

#define OPS_SRC "souk"
#define N_ORIGIN 3 /* src, lsn and ord stand at the end of every row. */

static const struct table_desc *const ops_tables[] = {&table_poe_ingest_status, &table_proc_logs};

static const struct table_desc *find_table(yyjson_val *name) {
    for (size_t i = 0; i < sizeof ops_tables / sizeof *ops_tables; i++)
        if (yyjson_equals_str(name, ops_tables[i]->name)) return ops_tables[i];
    return NULL;
}

/* @return whether @v fits a column of @kind; what is missing fits all. */
static bool fits(yyjson_val *v, enum column_kind kind) {
    if (decode__is_absent(v)) return true;
    switch (kind) {
    case COLUMN_STR: return yyjson_is_str(v);
    case COLUMN_F64: return yyjson_is_num(v);
    case COLUMN_I64: return yyjson_is_sint(v) || (yyjson_is_uint(v) && yyjson_get_sint(v) >= 0);
    case COLUMN_U64: return yyjson_is_uint(v);
    case COLUMN_U32: return yyjson_is_uint(v) && yyjson_get_uint(v) <= UINT32_MAX;
    case COLUMN_U8: return yyjson_is_bool(v) || (yyjson_is_uint(v) && yyjson_get_uint(v) <= 255);
    default: return false;
    }
}

static void write_cell(struct batch *b, yyjson_val *v, enum column_kind kind) {
    bool there = !decode__is_absent(v);
    switch (kind) {
    case COLUMN_STR: batch__str(b, there ? decode__slice(v) : SLICE_LIT("")); return;
    case COLUMN_F64: batch__f64(b, there ? yyjson_get_num(v) : 0); return;
    case COLUMN_I64: batch__i64(b, there ? yyjson_get_sint(v) : 0); return;
    case COLUMN_U64: batch__u64(b, there ? yyjson_get_uint(v) : 0); return;
    case COLUMN_U32: batch__u32(b, there ? (uint32_t)yyjson_get_uint(v) : 0); return;
    default:
        batch__u8(b, !there              ? 0
                     : yyjson_is_bool(v) ? (uint8_t)yyjson_get_bool(v)
                                         : (uint8_t)yyjson_get_uint(v));
        return;
    }
}

static void refuse(const struct spool_record *rec, const char *table, enum quality_reason reason,
                   const char *field, struct slice value, uint32_t ord, struct rows *rows) {
    struct batch *b = rows__batch(rows, &table_bronze_quarantine, (struct slice){0});
    if (b == NULL) return;
    struct quarantine_row row = {.wall_ns = rec->wall_ns,
                                 .source = SLICE_LIT(OPS_SRC),
                                 .table_name = slice__str(table),
                                 .reason = slice__str(quality__text(reason)),
                                 .field = slice__str(field),
                                 .value = value,
                                 .payload = rec->payload,
                                 .origin = {.src = OPS_SRC, .lsn = rec->lsn, .ord = ord}};
    tables__quarantine_row(b, &row);
}

static void add_row(const struct spool_record *rec, const struct table_desc *table, yyjson_val *obj,
                    uint32_t ord, struct rows *rows) {
    size_t n = table->n_columns - N_ORIGIN;
    yyjson_val *cells[BATCH_COLUMNS_MAX];
    for (size_t i = 0; i < n; i++) {
        cells[i] = yyjson_obj_get(obj, table->columns[i].name);
        if (yyjson_is_obj(obj) && fits(cells[i], table->columns[i].kind)) continue;
        struct buf text = buf__init(QUARANTINE_VALUE_MAX * 2);
        decode__write(&text, yyjson_is_obj(obj) ? cells[i] : obj, QUARANTINE_VALUE_MAX);
        refuse(rec, table->name, QUALITY_WRONG_TYPE, table->columns[i].name, buf__slice(&text), ord,
               rows);
        buf__fini(&text);
        return;
    }
    struct batch *b = rows__batch(rows, table, (struct slice){0});
    if (b == NULL) return;
    batch__begin(b);
    for (size_t i = 0; i < n; i++) write_cell(b, cells[i], table->columns[i].kind);
    batch__cstr(b, OPS_SRC);
    batch__u64(b, rec->lsn);
    batch__u32(b, ord);
    batch__end(b);
}

int ops_rows__make(const struct spool_record *rec, struct rows *rows) {
    yyjson_doc *doc = NULL;
    struct err e = {0};
    int status = decode__read(rec->payload, &doc, &e);
    if (status == ERR_NOMEM) return ERR_NOMEM;
    yyjson_val *root = yyjson_doc_get_root(doc), *list = yyjson_obj_get(root, "rows"), *row;
    const struct table_desc *table = find_table(yyjson_obj_get(root, "table"));
    size_t i, max;
    if (status == 0 && table == NULL) err__setf(&e, ERR_MALFORMED, "names no table known here");
    else if (status == 0 && !yyjson_is_arr(list))
        err__setf(&e, ERR_MALFORMED, "\"rows\" is not an array");
    else if (status == 0 && yyjson_arr_size(list) > OPS_ROWS_MAX)
        err__setf(&e, ERR_MALFORMED, "more than %d rows", OPS_ROWS_MAX);
    if (e.code != 0) {
        refuse(rec, table == NULL ? "" : table->name, QUALITY_UNDECODABLE_PAGE, e.msg,
               SLICE_LIT(""), 0, rows);
        yyjson_doc_free(doc);
        return rows__no_memory(rows) ? ERR_NOMEM : ERR_MALFORMED;
    }
    yyjson_arr_foreach(list, i, max, row) add_row(rec, table, row, (uint32_t)i, rows);
    yyjson_doc_free(doc);
    return rows__no_memory(rows) ? ERR_NOMEM : 0;
}
