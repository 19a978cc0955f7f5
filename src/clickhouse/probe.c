/*
 * A client hello and as much of the server's answer as its version needs. The layout is that of the
 * native protocol at revision 54412: VarUInt packet type, String name, VarUInt major, minor,
 * revision, String timezone, String display name, VarUInt patch.
 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 0, "souk-clickhouse", 0.1, revision 54412 as VarUInt, database "default"; then user and password,
 * each behind its length in one byte. */
static const char hello_start[] = "\0\017souk-clickhouse\0\001\214\251\003\007default";

struct cursor {
    const unsigned char *at, *end;
    bool short_of_bytes;
};

static uint64_t read_varuint(struct cursor *c) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        if (c->at == c->end) break;
        unsigned char byte = *c->at++;
        value |= (uint64_t)(byte & 127u) << shift;
        if (byte < 128) return value;
    }
    c->short_of_bytes = true;
    return 0;
}

static void skip_string(struct cursor *c) {
    uint64_t n = read_varuint(c);
    if (n > (uint64_t)(c->end - c->at)) {
        c->short_of_bytes = true;
        c->at = c->end;
        return;
    }
    c->at += n;
}

static bool parse_answer(struct probe *probe) {
    struct cursor c = {probe->answer + 1, probe->answer + probe->n, false};
    skip_string(&c); /* Name. */
    uint64_t major = read_varuint(&c), minor = read_varuint(&c);
    read_varuint(&c); /* Revision. */
    skip_string(&c);  /* Time zone. */
    skip_string(&c);  /* Display name. */
    uint64_t patch = read_varuint(&c);
    if (c.short_of_bytes) return false;
    snprintf(probe->version, sizeof probe->version, "%llu.%llu.%llu", (unsigned long long)major,
             (unsigned long long)minor, (unsigned long long)patch);
    return true;
}

bool probe__start(struct probe *probe, const struct sockaddr *address, socklen_t address_bytes) {
    probe__stop(probe);
    probe->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe->fd < 0) return false;
    if (connect(probe->fd, address, address_bytes) == 0 || errno == EINPROGRESS) return true;
    probe__stop(probe);
    return false;
}

short probe__events(const struct probe *probe) { return probe->said_hello ? POLLIN : POLLOUT; }

int probe__step(struct probe *probe, const char *user, const char *password) {
    if (!probe->said_hello) {
        char hello[sizeof hello_start + 2 * (1 + PROBE_WORD_MAX)];
        size_t n = sizeof hello_start - 1;
        memcpy(hello, hello_start, n);
        const char *const words[] = {user, password};
        for (int i = 0; i < 2; i++) {
            size_t bytes = strnlen(words[i], PROBE_WORD_MAX);
            hello[n++] = (char)bytes;
            memcpy(hello + n, words[i], bytes);
            n += bytes;
        }
        if (send(probe->fd, hello, n, MSG_NOSIGNAL) != (ssize_t)n) return -1;
        probe->said_hello = true;
        return 0;
    }
    ssize_t got = recv(probe->fd, probe->answer + probe->n, sizeof probe->answer - probe->n, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got <= 0) return -1;
    probe->n += (size_t)got;
    if (probe->answer[0] != 0) return -1; /* An exception, or another protocol. */
    if (parse_answer(probe)) return 1;
    return probe->n < sizeof probe->answer ? 0 : -1;
}

void probe__stop(struct probe *probe) {
    if (probe->fd >= 0) close(probe->fd);
    *probe = (struct probe){.fd = -1};
}
