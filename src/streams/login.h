/* The user's login in the running process: the refresh token that its next request shows, and its
 * way to disk. */
#ifndef SOUK_CLI_LOGIN_H
#define SOUK_CLI_LOGIN_H

#include "souk/core/err.h"
#include "souk/core/slice.h"
#include "souk/hub.h"
#include "souk/source.h"

struct app;
struct login;
struct login_file;

/** Begins with what was read at the start, and wipes the refresh token there: one copy is enough.
 *  NULL: nobody is logged in. @return 0 or ERR_NOMEM. */
int login__open(struct app *a, struct login_file *file);
/** After the loop has ended. */
void login__free(struct app *a);
/** @return whether somebody is logged in. */
bool login__is_there(const struct app *a);
/** For poller_deps, with the app as @ctx. keep_secret runs on the pool. */
int login__refresh_token(void *ctx, char id[LOGIN_ID_SIZE], char *out, size_t size, struct err *e);
void login__keep_secret(void *ctx, const char *id, struct slice answer);
/** Once a second: tries again what the disk did not take, and says how it went. */
void login__second(struct app *a);
/** The call of the hub: POST /api/v1/login, somebody has logged in or out; needs the write scope.
 *  @return how many were written to @out. */
size_t login__calls(struct app *a, struct hub_call *out);

#endif
