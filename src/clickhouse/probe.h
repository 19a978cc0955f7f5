/** Asks the native port whether the engine answers yet, without blocking. */
#ifndef SOUK_CLICKHOUSE_PROBE_H
#define SOUK_CLICKHOUSE_PROBE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum { PROBE_WORD_MAX = 127 };

struct probe {
    int fd; /* -1 when not connected. */
    bool said_hello;
    size_t n; /* Bytes of the answer so far. */
    unsigned char answer[512];
    char version[64]; /* E.g. 26.7.2, once probe__step() returned 1. */
};

/** Begins a new attempt, ending the last one. @return whether the connection is under way. */
bool probe__start(struct probe *probe, const struct sockaddr *address, socklen_t address_bytes);

/** The poll(2) events that it waits for; its descriptor is @fd. */
short probe__events(const struct probe *probe);

/** Goes on after poll(2) said so; logs in as @user, with words of PROBE_WORD_MAX bytes at most.
 * @return 1 when the engine has said hello, 0 to wait, -1 when this attempt failed. */
int probe__step(struct probe *probe, const char *user, const char *password);

/** Ends the attempt. */
void probe__stop(struct probe *probe);

#endif
