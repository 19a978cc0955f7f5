/* The quarantine rows of one page. Shared by the sources.
 *
 * They are counted against a bound, so that a hostile page cannot make rows without end: what
 * exceeds it becomes one row of reason too_many whose value says how many. */
#ifndef SOUK_SOURCES_PSAPI_REFUSALS_H
#define SOUK_SOURCES_PSAPI_REFUSALS_H

#include "souk/decode.h"
#include "souk/quality.h"
#include "souk/source.h"

#define REFUSALS_MAX 1000

struct refusals {
    const struct page *page; /* Borrowed, as all pointers here. */
    const char *source, *table_name;
    struct rows *rows;
    struct buf text; /* Scratch. Owned. */
    uint32_t n;
    uint64_t n_over;
};

void refusals__init(struct refusals *r, const struct page *page, const char *source,
                    const char *table_name, struct rows *rows);
void refusals__fini(struct refusals *r);
/** Adds a row: @entry (may be NULL) at the path @at was refused for @reason because of @value (may
 *  be NULL) in its field @field (may be ""). */
void refusals__add(struct refusals *r, enum quality_reason reason, const char *at,
                   const char *field, yyjson_val *value, yyjson_val *entry);
/** Adds the row of a fault that decode found in @entry. */
void refusals__fault(struct refusals *r, const char *at, const struct decode_fault *f,
                     yyjson_val *entry);
/** Counts @n entries as refused without rows of their own. */
void refusals__over(struct refusals *r, uint64_t n);
/** Adds the row for what was over the bound, if anything was. */
void refusals__end(struct refusals *r);
/** @return true when a row of @rows did not fit: the page's rows are no good. */
bool refusals__rows_failed(const struct rows *rows);

#endif
