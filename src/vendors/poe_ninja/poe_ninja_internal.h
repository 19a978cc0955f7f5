/* What the files of the poe_ninja source share. */
#ifndef SOUK_SOURCES_POE_NINJA_INTERNAL_H
#define SOUK_SOURCES_POE_NINJA_INTERNAL_H

#include "souk/decode.h"
#include "souk/source.h"

#define POE_NINJA_NAME "poe_ninja"
#define POE_NINJA_LINES_MAX 50000 /* Of one answer; a real one has up to about 10,000. */

enum ninja_overview { NINJA_EXCHANGE, NINJA_ITEM, NINJA_CURRENCY };

/** Splits "exchange/Currency". @return false when it is not an overview and a type. */
bool poe_ninja__kind(const char *kind, enum ninja_overview *overview, const char **type);
/** @return exchange, item or currency. */
const char *poe_ninja__overview_name(enum ninja_overview overview);
int poe_ninja__decode(const struct page *page, const struct decode_context *context,
                      struct rows *out, struct err *e);

#endif
