/* Asking a source now, whatever its own pace says; limits hold all the same. */
#ifndef SOUK_CLI_POLL_CALL_H
#define SOUK_CLI_POLL_CALL_H

#include "souk/hub.h"

struct app;

/** The call of the hub: POST /api/v1/sources/poll?source=NAME[&stream=KEY], which needs the write
 *  scope. @a is its ctx. @return how many were written to @out. */
size_t poll_call__calls(struct app *a, struct hub_call *out);

#endif
