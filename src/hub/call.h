/* What the calls of the hub share. */
#ifndef SOUK_CLI_CALL_H
#define SOUK_CLI_CALL_H

#include "souk/core/buf.h"

/** Makes @out an answer that says what is wrong: @code for programs, @msg for people. @return
 *  @status. */
int call__refuse(struct buf *out, int status, const char *code, const char *msg);

#endif
