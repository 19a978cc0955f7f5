/**
 * TLS for connections: who is trusted, and who we are. Made once at start-up, as it reads files,
 * and shared by any number of connections.
 *
 * The server's certificate is verified, and that it is the host's, unless that is switched off by
 * name. TLS 1.2 is the oldest spoken.
 */
#ifndef CH_NATIVE_TLS_H
#define CH_NATIVE_TLS_H

#include "base.h"

#include <stdbool.h>

struct chn_tls;

/** Zeroed: the system's authorities, verified. Strings are read during the call only. */
struct chn_tls_options {
    const char *ca_file;     /* PEM: the authorities that are trusted [the system's]. */
    const char *ca_dir;      /* The same as a folder of hashed names; may come with ca_file. */
    const char *server_name; /* Whose certificate it must be, and SNI [the host connected to]. */
    const char *cert_file;   /* PEM: our certificate and its chain [none]. */
    const char *key_file;    /* PEM: its key [cert_file]. */
    bool insecure;           /* Believe any certificate: anybody in between can read and change. */
};

/** Blocks for reading files. @return NULL with @err filled: CHN_ERR_TLS names the file that cannot
 * be used, CHN_ERR_MEMORY. */
struct chn_tls *chn_tls__new(const struct chn_tls_options *options, struct chn_err *err);
/** One more share, for another owner on the same loop. @tls may be NULL. @return it. */
struct chn_tls *chn_tls__share(struct chn_tls *tls);
/** The caller's share; connections keep theirs until they are freed. @tls may be NULL. */
void chn_tls__free(struct chn_tls *tls);

#endif
