/* What the files of the currency_exchange source share: the arithmetic of hours, which a backfill
 * of a range uses too, and the envelope of a digest.
 *
 * An hour is the unix time in seconds of its start, a multiple of 3600. The digest of hour h says
 * next_change_id = h + 3600. */
#ifndef SOUK_SOURCES_CURRENCY_EXCHANGE_INTERNAL_H
#define SOUK_SOURCES_CURRENCY_EXCHANGE_INTERNAL_H

#include "souk/decode.h"
#include "souk/source.h"

#define EXCHANGE_NAME "currency_exchange"
#define EXCHANGE_HOUR_S INT64_C(3600)
/* The first digest of the pc realm: league Settlers, 2024-07-26. */
#define EXCHANGE_FIRST_HOUR INT64_C(1722027600)
#define EXCHANGE_HOUR_MAX INT64_C(7258114800) /* 2199; beyond it nothing is a time. */
/* An hour that ended longer ago is not just late: digests come a few minutes after the hour. */
#define EXCHANGE_LATE_MAX_S (2 * EXCHANGE_HOUR_S)
/* As many hours in a row are asked for when one is missing; when none is there, all are gaps. */
#define EXCHANGE_SKIP_MAX 24
#define EXCHANGE_MARKETS_MAX 100000 /* Of one digest; a real one has some thousands. */

/** Reads an hour: digits alone, a multiple of 3600. @return false when @text is none. */
bool exchange__hour(struct slice text, int64_t *hour);
/** @return the last hour that is over at @wall_ns. */
int64_t exchange__last_complete(int64_t wall_ns);
/** @return true when @hour ended so long before @wall_ns that its digest is not just late. */
bool exchange__is_old(int64_t hour, int64_t wall_ns);
/** Appends the path of @hour in @realm, or of the first hour that there is when it is 0:
 *  /currency-exchange[/realm][/hour]. @return false when it does not fit. */
bool exchange__path(char *out, size_t size, const char *realm, int64_t hour);
/** The cursor that a person means by @text: an hour, which is the last one kept, or a time as
 *  2026-11-20T13:00:00Z, before which all is kept; so a backfill from one time to another asks for
 *  the hours between them. @return 0 with @out, or ERR_CONFIG with what is expected. */
int exchange__cursor(const char *text, char out[CURSOR_MAX], struct err *e);
/** @return whether a stream that has kept @cursor has kept @until as well. */
bool exchange__reached(const char *cursor, const char *until);
/** Takes the envelope apart. *next is 0 when there is none to be read.
 *  @return 0, or ERR_MALFORMED. */
int exchange__envelope(yyjson_val *root, int64_t *next, yyjson_val **markets, struct err *e);
/** source_type.decode */
int exchange__decode(const struct page *page, const struct decode_context *context,
                     struct rows *out, struct err *e);

#endif
