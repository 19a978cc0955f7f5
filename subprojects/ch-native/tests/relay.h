/** Takes TLS connections and passes what is in them on to a port without TLS, in processes of its
 * own: one that listens, one a connection. */
#ifndef CHN_TESTS_RELAY_H
#define CHN_TESTS_RELAY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct relay {
    pid_t pid;
    uint16_t port;
};

struct relay_options {
    const char *cert_file;   /* Certificate and key. */
    const char *client_ca;   /* Clients must show one of this authority; NULL: need not. */
    int version_max;         /* Of TLS, as OpenSSL counts; 0: any. */
    uint16_t to_port;        /* On 127.0.0.1; 0: nothing is passed on. */
};

/** @return whether it listens. */
bool relay__start(struct relay *r, const struct relay_options *options);
/** Cuts all connections off, without TLS's goodbye. */
void relay__cut(const struct relay *r);
void relay__stop(struct relay *r);

#endif
