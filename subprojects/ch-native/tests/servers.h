/** Real servers for tests: the embedded 26.x through souk-clickhouse, and Debian's
 * clickhouse-server 18.16. */
#ifndef CHN_TESTS_SERVERS_H
#define CHN_TESTS_SERVERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct server {
    pid_t pid; /* Of the launcher, or of the old server. */
    uint16_t port, http_port;
    uint16_t secure_port; /* With TLS; 0: it has none. */
    char dir[64];
    bool embedded;
};

/** Skips a cmocka test of what the old server has not, and says so. */
#define ONLY_EMBEDDED(server)                                                                      \
    do {                                                                                           \
        if (!(server).embedded) {                                                                  \
            print_message("only of the embedded server\n");                                        \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

/** Starts one on free ports. @return NULL, or why it cannot be (the test is skipped then). */
const char *server__start_embedded(struct server *s);
const char *server__start_old(struct server *s);
/** The old one with a port for TLS too, its certificate and key in @cert_file. */
const char *server__start_old_secure(struct server *s, const char *cert_file);
/** The process that serves; killing it with -9 is a crash. The launcher starts the embedded one
 * again. */
pid_t server__engine_pid(const struct server *s);
/** Stops all its threads, or lets them go on: while stopped its sockets take what they hold and
 * answer nothing. */
void server__pause(const struct server *s, bool pause);
/** Stops it and removes its folder. */
void server__stop(struct server *s);

#endif
