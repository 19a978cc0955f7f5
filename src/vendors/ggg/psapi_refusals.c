/* Writing quarantine rows. */
#include "psapi_refusals.h"
#include "souk/tables.h"
#include <stdio.h>

void refusals__init(struct refusals *r, const struct page *page, const char *source,
                    const char *table_name, struct rows *rows) {
    *r = (struct refusals){.page = page, .source = source, .table_name = table_name, .rows = rows};
    r->text = buf__init(2 * DECODE_BODY_MAX);
}

void refusals__fini(struct refusals *r) { buf__fini(&r->text); }

static void add_row(struct refusals *r, enum quality_reason reason, struct slice field,
                    struct slice value, struct slice payload) {
    struct batch *b = rows__batch(r->rows, &table_bronze_quarantine, SLICE_LIT(""));
    if (b == NULL) return;
    const struct quarantine_row row = {
        .wall_ns = r->page->received_wall_ns,
        .source = slice__str(r->source),
        .table_name = slice__str(r->table_name),
        .reason = slice__str(quality__text(reason)),
        .field = field,
        .value = value,
        .cursor = r->page->cursor_from,
        .payload = payload,
        .origin = {.src = r->source, .lsn = r->page->lsn, .ord = r->n++},
    };
    tables__quarantine_row(b, &row);
}

void refusals__add(struct refusals *r, enum quality_reason reason, const char *at,
                   const char *field, yyjson_val *value, yyjson_val *entry) {
    if (r->n >= REFUSALS_MAX) {
        refusals__over(r, 1);
        return;
    }
    char path[256];
    int n = snprintf(path, sizeof path, "%s%s%s", at, at[0] != '\0' && field[0] != '\0' ? "." : "",
                     field);
    size_t path_len = n < 0 ? 0 : (size_t)n < sizeof path ? (size_t)n : sizeof path - 1;
    buf__clear(&r->text);
    /* Texts go in bare, everything else as JSON; both are cut when they are long. */
    if (value != NULL && yyjson_is_str(value))
        buf__append_slice(&r->text, tables__cut(decode__slice(value), QUARANTINE_VALUE_MAX));
    else if (value != NULL) decode__write(&r->text, value, QUARANTINE_VALUE_MAX);
    size_t value_len = r->text.len;
    if (entry != NULL) decode__write(&r->text, entry, value_len + QUARANTINE_PAYLOAD_MAX);
    struct slice text = buf__slice(&r->text);
    if (r->text.failed) {
        r->rows->failed = true;
        r->rows->no_memory = r->rows->no_memory || r->text.no_memory;
    } else {
        add_row(r, reason, slice__of(path, path_len), slice__of(text.base, value_len),
                slice__of(text.base == NULL ? NULL : text.base + value_len, text.len - value_len));
    }
}

void refusals__fault(struct refusals *r, const char *at, const struct decode_fault *f,
                     yyjson_val *entry) {
    static const enum quality_reason reasons[] = {
        [DECODE_FINE] = QUALITY_REJECTED,         [DECODE_MISSING] = QUALITY_MISSING_FIELD,
        [DECODE_WRONG_TYPE] = QUALITY_WRONG_TYPE, [DECODE_OUT_OF_RANGE] = QUALITY_OUT_OF_RANGE,
        [DECODE_TOO_LONG] = QUALITY_TOO_LONG,     [DECODE_TOO_DEEP] = QUALITY_TOO_DEEP,
        [DECODE_TOO_MANY] = QUALITY_TOO_MANY,
    };
    refusals__add(r, reasons[f->kind], at, f->field, f->value, entry);
}

void refusals__over(struct refusals *r, uint64_t n) { r->n_over += n; }

void refusals__end(struct refusals *r) {
    if (r->n_over == 0) return;
    char text[24];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)r->n_over);
    add_row(r, QUALITY_TOO_MANY, SLICE_LIT(""), slice__of(text, (size_t)n), SLICE_LIT(""));
}

bool refusals__rows_failed(const struct rows *rows) {
    bool failed = rows->failed;
    for (size_t i = 0; i < rows->n; i++) failed = failed || batch__failed(&rows->batches[i].batch);
    return failed;
}
