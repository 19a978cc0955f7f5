/* The policies that souk has learned from its upstreams, as a table for people. */
#ifndef SOUK_CLI_LIMIT_TABLE_H
#define SOUK_CLI_LIMIT_TABLE_H

#include "souk/core/buf.h"
#include "souk/core/err.h"
#include <yyjson.h>

/** Prints @policies (an array as throttle__put_policies writes it) as Markdown, by name: a line
 * each rule. */
void limit_table__print(yyjson_val *policies);
/** Appends the policies of the newest LIMITS record in the log at @dir, as throttle__put_policies
 *  does. Blocks; works beside a running souk. @return 0; ERR_NOT_FOUND when there is no log or no
 *  such record; what reading it failed with. */
int limit_table__read(const char *dir, struct buf *out, struct err *e);
#endif
