/* A user's login on disk: {state_dir}/login.json, mode 0600, made by souk login and renewed by the
 * running souk. It holds the refresh token, the one secret that souk keeps: it is good once, each
 * use brings the next, and whoever loses the newest has to log in again. So the next one is on disk
 * (written beside, synced, renamed, the folder synced) before the answer that brought it is used.
 *
 * Two processes may write: one that renews and one in which somebody logs in. A lock on the folder
 * keeps them apart, and a renewal never takes the place of another login.
 *
 * Everything here blocks for the disk. */
#ifndef SOUK_CLI_LOGIN_FILE_H
#define SOUK_CLI_LOGIN_FILE_H

#include "souk/core/err.h"
#include "souk/oauth.h"
#include <stdbool.h>

struct login_file {
    char id[LOGIN_ID_SIZE]; /* Of the login; its renewals keep it. "": nobody is logged in. */
    char client_id[128];    /* The client that it was granted to: no other can use it. */
    char username[128], scope[1024];
    char refresh[OAUTH_TOKEN_MAX + 1];              /* A secret. */
    int64_t logged_in_s, renewed_s, access_until_s; /* UTC since 1970; the last one 0: unknown. */
};

/** Reads the login of @state_dir. @return 0; ERR_NOT_FOUND when nobody is logged in; ERR_REFUSED
 * for a file that others may read; ERR_IO; ERR_CORRUPT. @out has an empty id then. */
int login_file__read(const char *state_dir, struct login_file *out, struct err *e);
/** Puts @in in the place of the login @instead_of, or of whatever is there when that is NULL.
 * @return 0 when it is on disk; ERR_REFUSED when another login, or none, is there; ERR_IO. What was
 * there stays then. */
int login_file__write(const char *state_dir, const struct login_file *in, const char *instead_of,
                      struct err *e);
/** Removes the login, whoever's it is, and reads it into @was, so that it can be withdrawn: also
 * one that others may read, for they can withdraw nothing. @return 0; ERR_NOT_FOUND when nobody was
 *  logged in; ERR_CORRUPT when it is gone, and what it was could not be read; ERR_IO when it is
 *  still there. @was has an empty id but for 0. */
int login_file__remove(const char *state_dir, struct login_file *was, struct err *e);
/** Takes what an answer of the token endpoint says at @now_s. Its refresh token, its name and its
 *  scope stay as they are where the answer is silent. */
void login_file__take(struct login_file *f, const struct oauth_login *answer, int64_t now_s);

#endif
