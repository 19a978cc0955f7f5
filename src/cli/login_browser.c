/* A server for one visit. Several connections may be open at a time, since browsers open some that
 * they never use; each has little room and gives way to the ninth, and there is one answer that
 * counts. */
#include "login_browser.h"
#include "souk/core/buf.h"
#include "souk/core/clock.h"
#include "souk/core/slice.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 8 /* The oldest gives way. */
#define HEAD_MAX 8192
#define STRANGERS_MAX 100 /* Requests that are not the browser's; then somebody is guessing. */
#define PREFIX "http://127.0.0.1"

struct visit {
    int fd; /* -1: free. */
    size_t n;
    uint64_t order;
    char head[HEAD_MAX + 1];
};

int login_browser__open(struct login_browser *b, const char *redirect, struct err *e) {
    int64_t port = 0;
    *b = (struct login_browser){.fd = -1, .reply_fd = -1};
    const char *at = redirect + strlen(PREFIX);
    bool good = strncmp(redirect, PREFIX, strlen(PREFIX)) == 0;
    if (good && *at == ':') {
        size_t n = strcspn(at + 1, "/");
        good = slice__int64(slice__of(at + 1, n), &port) && port >= 1 && port <= 65535;
        at += 1 + n;
    }
    good = good && (*at == '\0' || *at == '/') && strlen(at) < sizeof b->path;
    for (const char *c = at; good && *c != '\0'; c++)
        good = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
               strchr("/-._~", *c) != NULL;
    if (!good)
        return err__setf(e, ERR_CONFIG,
                         "%.80s is no place to come back to (expected " PREFIX "[:PORT][/PATH])",
                         redirect);
    snprintf(b->path, sizeof b->path, "%s", *at == '\0' ? "/" : at);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t size = sizeof to;
    int on = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    b->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (b->fd < 0 || setsockopt(b->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(b->fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        listen(b->fd, CONNECTIONS_MAX) != 0 ||
        getsockname(b->fd, (struct sockaddr *)&to, &size) != 0) {
        err__setf(e, ERR_CREATE, "cannot listen on 127.0.0.1:%d: %s", (int)port, strerror(errno));
        login_browser__close(b);
        return e->code;
    }
    b->port = ntohs(to.sin_port);
    return 0;
}

void login_browser__redirect(const struct login_browser *b, char *out, size_t size) {
    snprintf(out, size, PREFIX ":%d%s", b->port, b->path);
}

static void put_escaped(struct buf *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (strchr("<>&\"'", *text) != NULL) buf__printf(out, "&#%d;", *text);
        else buf__u8(out, (uint8_t)*text);
    }
}

static void send_page(int fd, int status, const char *text) {
    struct buf body = buf__init(4096), out = buf__init(8192);
    buf__append_str(&body, "<!doctype html><meta charset=\"utf-8\"><title>souk</title><link "
                           "rel=\"icon\" href=\"data:,\"><h1>souk</h1><p>");
    put_escaped(&body, text);
    buf__append_str(&body, "</p>\n");
    buf__printf(
        &out,
        "HTTP/1.1 %d %s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %zu\r\n"
        "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
        "Content-Security-Policy: default-src 'none'; img-src data:; frame-ancestors 'none'\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n%.*s",
        status, status == 200 ? "OK" : "Refused", body.len, SLICE_FMT(buf__slice(&body)));
    /* It fits the socket's buffer; a browser that has gone misses it. */
    if (!out.failed && send(fd, out.base, out.len, MSG_NOSIGNAL) > 0) shutdown(fd, SHUT_WR);
    buf__fini(&body);
    buf__fini(&out);
}

static void drop(struct visit *v) {
    if (v->fd >= 0) close(v->fd);
    explicit_bzero(v, sizeof *v);
    v->fd = -1;
}

/* @return the value of the header @name, or an empty slice; @n is how often it is there. */
static struct slice find_header(const char *head, const char *name, int *n) {
    struct slice found = slice__of(NULL, 0);
    *n = 0;
    for (const char *at = strstr(head, "\r\n"); at != NULL; at = strstr(at, "\r\n")) {
        at += 2;
        size_t len = strlen(name);
        if (strncasecmp(at, name, len) != 0 || at[len] != ':') continue;
        const char *value = at + len + 1 + strspn(at + len + 1, " \t");
        found = slice__of(value, strcspn(value, "\r\n"));
        while (found.len > 0 &&
               (found.base[found.len - 1] == ' ' || found.base[found.len - 1] == '\t'))
            found.len--;
        (*n)++;
    }
    return found;
}

static int hex_of(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* Decodes the value of @key in @query. @return its length; -1 when it is not there once, does not
 * fit, or is not printable ASCII. */
static int take_value(struct slice query, const char *key, char *out, size_t size) {
    int found = -1;
    size_t n_key = strlen(key);
    while (query.len > 0) {
        const char *stop = memchr(query.base, '&', query.len);
        size_t len = stop == NULL ? query.len : (size_t)(stop - query.base), n = 0;
        if (len > n_key && memcmp(query.base, key, n_key) == 0 && query.base[n_key] == '=') {
            if (found >= 0) return -1;
            for (size_t i = n_key + 1; i < len; i++) {
                char c = query.base[i];
                if (c == '%') {
                    int high = i + 2 < len ? hex_of(query.base[i + 1]) : -1;
                    int low = high < 0 ? -1 : hex_of(query.base[i + 2]);
                    if (low < 0) return -1;
                    c = (char)(high << 4 | low);
                    i += 2;
                }
                if (c < 0x20 || c > 0x7e || n + 1 >= size) return -1;
                out[n++] = c;
            }
            out[n] = '\0';
            found = (int)n;
        }
        len += len < query.len;
        query = slice__of(query.base + len, query.len - len);
    }
    return found;
}

/* What a request is. */
enum visitor { STRANGER, STRANGER_HOST, STRANGER_PATH, VISITOR_CODE, VISITOR_DENIED };

/* Judges the request in @head. The order matters: nobody learns anything who does not come to the
 * right host with the right state. */
static enum visitor judge(const struct login_browser *b, const char *head, const char *state,
                          char code[LOGIN_CODE_MAX]) {
    char host[32], got[LOGIN_STATE_SIZE], error[128];
    int n_hosts;
    struct slice is_for = find_header(head, "Host", &n_hosts);
    snprintf(host, sizeof host, "127.0.0.1:%d", b->port);
    /* Browsers leave the scheme's own port out. */
    bool right = slice__eq(is_for, slice__str(host)) ||
                 (b->port == 80 && slice__eq(is_for, SLICE_LIT("127.0.0.1")));
    if (n_hosts != 1 || !right) return STRANGER_HOST;
    if (strncmp(head, "GET ", 4) != 0) return STRANGER;
    struct slice target = slice__of(head + 4, strcspn(head + 4, " \r\n"));
    if (strncmp(target.base + target.len, " HTTP/1.", 8) != 0) return STRANGER;
    size_t n_path = strlen(b->path);
    if (target.len < n_path || memcmp(target.base, b->path, n_path) != 0) return STRANGER_PATH;
    if (target.len == n_path || target.base[n_path] != '?') return STRANGER_PATH;
    struct slice query = slice__of(target.base + n_path + 1, target.len - n_path - 1);
    if (take_value(query, "state", got, sizeof got) != LOGIN_STATE_SIZE - 1 ||
        CRYPTO_memcmp(got, state, LOGIN_STATE_SIZE - 1) != 0)
        return STRANGER;
    if (take_value(query, "code", code, LOGIN_CODE_MAX) > 0) return VISITOR_CODE;
    return take_value(query, "error", error, sizeof error) > 0 ? VISITOR_DENIED : STRANGER;
}

/* @return what came of a visit that has something to say; -1 while its head is not complete. */
static int read_visit(const struct login_browser *b, struct visit *v, const char *state,
                      char code[LOGIN_CODE_MAX]) {
    ssize_t n = recv(v->fd, v->head + v->n, HEAD_MAX - v->n, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return -1;
    if (n <= 0) { /* Opened in advance, and not needed. */
        drop(v);
        return -1;
    }
    v->n += (size_t)n;
    v->head[v->n] = '\0';
    if (strlen(v->head) != v->n) return STRANGER;
    if (strstr(v->head, "\r\n\r\n") == NULL) return v->n < HEAD_MAX ? -1 : STRANGER;
    return (int)judge(b, v->head, state, code);
}

static void take_visit(int listens, struct visit *visits, uint64_t *order) {
    struct visit *v = &visits[0];
    int fd = accept4(listens, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    for (size_t i = 1; i < CONNECTIONS_MAX && v->fd >= 0; i++)
        if (visits[i].fd < 0 || visits[i].order < v->order) v = &visits[i];
    drop(v);
    v->fd = fd;
    v->order = ++*order;
}

static int64_t now_ms(void) { return clock__stopwatch_ns() / NS_PER_MS; }

/* Waits for one thing to happen. @return 0 to go on; 1 when @code is there; or an error. */
static int step(struct login_browser *b, struct visit *visits, const char *state, int64_t wait_ms,
                uint64_t *order, int *n_strangers, char code[LOGIN_CODE_MAX], struct err *e) {
    struct pollfd fds[CONNECTIONS_MAX + 1] = {{.fd = b->fd, .events = POLLIN}};
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        fds[i + 1] = (struct pollfd){.fd = visits[i].fd, .events = POLLIN};
    if (poll(fds, CONNECTIONS_MAX + 1, (int)(wait_ms < 1000 ? wait_ms : 1000)) <= 0) return 0;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        int came = fds[i + 1].revents == 0 ? -1 : read_visit(b, &visits[i], state, code);
        if (came < 0) continue;
        if (came == VISITOR_CODE) {
            b->reply_fd = visits[i].fd;
            visits[i].fd = -1;
            return 1;
        }
        bool denied = came == VISITOR_DENIED;
        send_page(visits[i].fd,
                  came == STRANGER_PATH   ? 404
                  : came == STRANGER_HOST ? 421
                  : denied                ? 200
                                          : 400,
                  denied ? "Not logged in: you said no. You can close this tab."
                         : "This is not what souk waits for.");
        drop(&visits[i]);
        if (denied) return err__setf(e, ERR_REFUSED, "the vendor's page says no: not logged in");
        if (++*n_strangers == STRANGERS_MAX)
            return err__setf(e, ERR_REFUSED, "%d requests came that were not the browser's",
                             STRANGERS_MAX);
    }
    if (fds[0].revents != 0) take_visit(b->fd, visits, order);
    return 0;
}

int login_browser__wait(struct login_browser *b, const char *state, int64_t wait_ms,
                        char code[LOGIN_CODE_MAX], struct err *e) {
    static struct visit visits[CONNECTIONS_MAX];
    int64_t until_ms = now_ms() + wait_ms;
    uint64_t order = 0;
    int n_strangers = 0, came = 0;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) visits[i].fd = -1;
    while (came == 0) {
        int64_t left_ms = until_ms - now_ms();
        if (left_ms <= 0) came = err__setf(e, ERR_TIMEOUT, "nobody came back from the browser");
        else came = step(b, visits, state, left_ms, &order, &n_strangers, code, e);
    }
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) drop(&visits[i]);
    close(b->fd); /* One visit, and the door is shut. */
    b->fd = -1;
    return came == 1 ? 0 : came;
}

void login_browser__show(struct login_browser *b, int status, const char *text) {
    if (b->reply_fd < 0) return;
    send_page(b->reply_fd, status, text);
    close(b->reply_fd);
    b->reply_fd = -1;
}

void login_browser__close(struct login_browser *b) {
    if (b->fd >= 0) close(b->fd);
    if (b->reply_fd >= 0) close(b->reply_fd);
    b->fd = b->reply_fd = -1;
}
