/* A text of several statements, statement by statement. */
#ifndef SOUK_SCHEMA_SQL_H
#define SOUK_SCHEMA_SQL_H

#include "souk/core/slice.h"

/** Takes the next statement of @at, without blanks, comments in front and its semicolon. @return
 *  false at the end. */
bool sql__next(const char **at, struct slice *statement);
/** @return where the statement at @p ends: at a semicolon outside of quotes and comments, or at the
 *  end of the text. */
const char *sql__statement_end(const char *p);
/** @return @p behind blanks and comments, at most @end. */
const char *sql__skip_blank(const char *p, const char *end);

#endif
