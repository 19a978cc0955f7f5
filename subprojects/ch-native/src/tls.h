/** TLS of one connection, as bytes in and bytes out: it touches no socket. */
#ifndef CHN_TLS_SESSION_H
#define CHN_TLS_SESSION_H

#include "wire.h"

#include <ch_native/tls.h>

struct chn_tls_session;

/** A client's session with @host, which its certificate must name unless @tls names another. NULL
 * with @err filled when it cannot be. */
struct chn_tls_session *chn_tls_session__new(struct chn_tls *tls, const char *host,
                                             struct chn_err *err);
void chn_tls_session__free(struct chn_tls_session *s);

/** What the server sent. Copied. @return 0 or CHN_ERR_MEMORY. */
int chn_tls_session__put(struct chn_tls_session *s, const void *data, size_t n);
/** Appends what is to be sent to the server. @return 0 or CHN_ERR_MEMORY. */
int chn_tls_session__take(struct chn_tls_session *s, struct chn_buf *out);

/** @return 0 when TLS is agreed on, CHN_MORE, or CHN_ERR_TLS with @err filled. */
int chn_tls_session__handshake(struct chn_tls_session *s, struct chn_err *err);
/** Some plain bytes of the server, the session's until the next call. @return 0, CHN_MORE,
 * CHN_ERR_LOST when it said that these were the last, CHN_ERR_TLS. */
int chn_tls_session__read(struct chn_tls_session *s, const void **data, size_t *n,
                          struct chn_err *err);
/** Encrypts all @n bytes. @return 0 or CHN_ERR_TLS. */
int chn_tls_session__write(struct chn_tls_session *s, const void *data, size_t n,
                           struct chn_err *err);
/** Tells the server that we are done. */
void chn_tls_session__finish(struct chn_tls_session *s);

#endif
