/* What the files of the trade_data source share. */
#ifndef SOUK_SOURCES_TRADE_DATA_INTERNAL_H
#define SOUK_SOURCES_TRADE_DATA_INTERNAL_H

#include "souk/decode.h"
#include "souk/source.h"

#define TRADE_DATA_NAME "trade_data"
#define TRADE_HEADS "change-ids"  /* The resource that says where other sources' heads are. */
#define TRADE_LISTINGS "listings" /* Kind of the one stream that walks cursors. */
/* Entries of one body that become rows; the largest of 2026 has 18,279 without its groups. */
#define TRADE_ENTRIES_MAX 200000
#define TRADE_TEXT_MAX 512                   /* Bytes of an id or a name. */
#define TRADE_PAYLOAD_MAX ((size_t)64 << 10) /* Of one entry; the largest of 2019 has 20,742. */

/** Finds the list in @root, which is {"result": [...]} or, as some keep it, the list alone.
 *  @return NULL and a message in @e when there is none. */
yyjson_val *trade_data__result(yyjson_val *root, struct err *e);
/** @return the list of entries of @group, or NULL when it is an entry itself. */
yyjson_val *trade_data__entries(yyjson_val *group);
int trade_data__decode(const struct page *page, const struct decode_context *context,
                       struct rows *out, struct err *e);

#endif
