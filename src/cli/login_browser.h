/* The browser's part of a login: it is sent to the vendor's page, and comes back to a port of this
 * machine with a code (RFC 8252, section 7.3). Blocks; for a verb. */
#ifndef SOUK_CLI_LOGIN_BROWSER_H
#define SOUK_CLI_LOGIN_BROWSER_H

#include "souk/core/err.h"
#include <stddef.h>
#include <stdint.h>

#define LOGIN_CODE_MAX 1024
#define LOGIN_STATE_SIZE 44 /* 43 letters, 256 bits. */

/** A port that waits for one browser. Only 127.0.0.1 reaches it. */
struct login_browser {
    int fd;       /* Listens. -1: closed. */
    int reply_fd; /* The browser that brought the code, and waits for a page. -1: none. */
    uint16_t port;
    char path[128]; /* Where it is expected. */
};

/** Listens at @redirect: http://127.0.0.1[:PORT][/PATH]; without a port the system picks one.
 * @return 0; ERR_CONFIG for another form; ERR_CREATE when the port cannot be had. */
int login_browser__open(struct login_browser *b, const char *redirect, struct err *e);
/** Writes the address that the browser comes back to. */
void login_browser__redirect(const struct login_browser *b, char *out, size_t size);
/** Waits for at most @wait_ms for the browser to come with @state, and takes its code. What comes
 *  without it, or for another host or path, is turned away and changes nothing. @return 0;
 *  ERR_TIMEOUT; ERR_REFUSED when the user said no, or when too many came that were none. */
int login_browser__wait(struct login_browser *b, const char *state, int64_t wait_ms,
                        char code[LOGIN_CODE_MAX], struct err *e);
/** Shows @text to the browser that brought the code, if it still waits. */
void login_browser__show(struct login_browser *b, int status, const char *text);
void login_browser__close(struct login_browser *b);

#endif
