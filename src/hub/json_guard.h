/* Bounds on JSON from outside, checked before and after it is parsed. */
#ifndef SOUK_HUB_JSON_GUARD_H
#define SOUK_HUB_JSON_GUARD_H

#include "souk/core/slice.h"
#include <yyjson.h>

#define JSON_DEPTH_MAX 8
#define JSON_STRING_MAX 1024

/** Parses an object that is at most JSON_DEPTH_MAX deep, has strings of at most JSON_STRING_MAX
 *  bytes, no key twice in an object and no zero character. @return NULL when it is not that; else
 *  the caller frees it with yyjson_doc_free. */
yyjson_doc *json_guard__read(struct slice text);

#endif
