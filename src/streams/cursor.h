/* The calls of the hub about cursors: GET /api/v1/cursor lists where every stream stands, POST
 * /api/v1/cursor/set|freeze|unfreeze?source=&stream=&reason=[&cursor=] changes one. A change is
 * answered once it is in the log. */
#ifndef SOUK_CLI_CURSOR_H
#define SOUK_CLI_CURSOR_H

#include "souk/hub.h"

struct app;

/** @return how many were written to @out, which has room for 4. */
size_t cursor__calls(struct app *a, struct hub_call *out);

#endif
