/* Asking the running souk, for verbs. */
#ifndef SOUK_CLI_ASK_H
#define SOUK_CLI_ASK_H

#include "../service/settings.h"
#include "souk/core/buf.h"
#include <yyjson.h>

/** Sends @method (GET or POST) for @path (with its query, encoded) to the hub of @settings and
 * waits for at most 5 s (POST: 60 s). Prints to standard error what is wrong: that nobody answers,
 * or what the answer says. @return 0 with the body in @out; EXIT_UNAVAILABLE; EXIT_FAILURE for a
 * refusal. */
int ask_hub(const struct settings *settings, const char *method, const char *path, struct buf *out);
/** Appends @name=@value to the query of @path, encoded. */
void put_query(struct buf *path, const char *name, const char *value);
/** err__plain() on one line for all texts of an answer. @return @doc, which may be NULL. */
yyjson_doc *plain_doc(yyjson_doc *doc);
/** Prints what a hub says is JSON, and a line end: what would steer a terminal is escaped, which
 * changes no value. */
void print_json(struct slice json);
/** @return the string @key of an answer's object @obj, "" when there is none. Borrowed from it. */
const char *answer_text(yyjson_val *obj, const char *key);
/** @return the number @key of @obj, 0 when there is none. */
double answer_num(yyjson_val *obj, const char *key);

#endif
