/* What the files of the psapi source share. */
#ifndef SOUK_SOURCES_PSAPI_INTERNAL_H
#define SOUK_SOURCES_PSAPI_INTERNAL_H

#include "souk/decode.h"
#include "souk/source.h"

#define PSAPI_NAME "psapi"
/* Items of one page that become rows; a real page of 2024 has 2,868. What exceeds it is counted in
 * a quarantine row, and stays in the raw page. */
#define PSAPI_ITEMS_MAX 100000

/** Finds the parts of a page. @return 0, or ERR_MALFORMED naming the part. */
int psapi__envelope(yyjson_val *root, struct slice *next_change_id, yyjson_val **stashes,
                    struct err *e);
int psapi__decode(const struct page *page, const struct decode_context *context, struct rows *out,
                  struct err *e);

#endif
