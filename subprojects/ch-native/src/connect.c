/*
 * How a connection comes to be ready. The happy path: resolve the name, connect to the first
 * address that answers, agree on TLS if there is to be any, send the hello, read the server's, send
 * the addendum. Where it fails the next host is tried, each of them once; the last one's error is
 * told.
 */
#include "conn.h"

#include "gates.h"

#include <stdio.h>
#include <stdlib.h>

struct resolver {
    uv_getaddrinfo_t req; /* First: chn_conn's pointer is to it. Its data is the connection, NULL
                             once dropped. */
    struct chn_conn *conn;
};

static void forget_addresses(struct chn_conn *c) {
    uv_freeaddrinfo(c->addresses);
    c->addresses = c->address = NULL;
}

void chn_conn__end_connect(struct chn_conn *c, const struct chn_err *err,
                           const struct chn_exception *exception) {
    chn_connect_cb cb = c->cb.connect;
    void *data = c->cb_data;
    forget_addresses(c);
    cb(c, data, err, exception);
}

/* --- The hello --- */

/* What @asked for and the server's own words come to. @return 1 chunks, 0 none, -1 no common
 * ground. (ClickHouse's NativeProtocol.md: chunked or notchunked, each strict unless it ends with
 * _optional.) */
static int agree_on_chunks(const char *server, enum chn_chunks asked) {
    static const char chunked[] = "chunked", optional[] = "_optional";
    size_t n = strlen(server), n_optional = sizeof optional - 1;
    bool theirs = strncmp(server, chunked, sizeof chunked - 1) == 0;
    bool is_optional = n > n_optional && strcmp(server + n - n_optional, optional) == 0;
    if (is_optional) return asked != CHN_CHUNKS_IF_ASKED;
    if (asked == CHN_CHUNKS_ALWAYS && !theirs) return -1;
    return theirs;
}

static int agree(struct chn_conn *c, struct chn_err *err) {
    struct chn_parser *p = &c->parser;
    struct chn_server *s = &p->server;
    if (s->revision < CHN_REVISION_MIN)
        return chn_err__setf(
            err, CHN_ERR_PROTOCOL,
            "%.80s:%u: server %.60s %u.%u speaks revision %u, %d is the oldest supported", c->host,
            c->port, s->name, s->major, s->minor, s->revision, CHN_REVISION_MIN);
    int out = 0, in = 0;
    if (chn_gate(s->negotiated, CHN_GATE_CHUNKS)) {
        out = agree_on_chunks(p->server_takes, c->options.chunks);
        in = agree_on_chunks(p->server_sends, c->options.chunks);
    } else if (c->options.chunks == CHN_CHUNKS_ALWAYS) {
        out = -1;
    }
    if (out < 0 || in < 0)
        return chn_err__setf(err, CHN_ERR_PROTOCOL,
                             "%.80s:%u: packets in chunks are asked for, which the server does not "
                             "do (proto_caps)",
                             c->host, c->port);
    s->chunks_out = out == 1;
    s->chunks_in = in == 1;
    return s->chunks_in ? chn_parser__expect_chunks(p, err) : 0;
}

void chn_conn__on_hello(struct chn_conn *c) {
    struct chn_err err;
    int code = agree(c, &err);
    c->head.n = 0;
    chn_request__addendum(&c->head, &c->client, &c->parser.server);
    if (code == 0) code = chn_conn__write_head(c, &err);
    if (code != 0) {
        chn_conn__fail(c, &err);
        return;
    }
    chn_conn__move(c, CHN_READY, 0);
    chn_conn__end_connect(c, NULL, NULL);
}

static void say_hello(struct chn_conn *c) {
    struct chn_err err;
    chn_conn__move(c, CHN_HELLO, chn_or(c->options.hello_ms, 5000));
    chn_parser__reset(&c->parser, c->client.advertised);
    c->head.n = 0;
    chn_request__hello(&c->head, &c->client);
    if (chn_conn__write_head(c, &err) != 0) chn_conn__fail(c, &err);
}

void chn_conn__on_secure(struct chn_conn *c) { say_hello(c); }

/* --- Addresses --- */

/* Tries the next address; @last is why the one before did not do. */
static void try_address(struct chn_conn *c, const struct chn_err *last) {
    struct chn_err err = *last, why;
    for (; c->address != NULL; c->address = c->address->ai_next) {
        struct chn_link *link =
            chn_link__open(c, c->loop, c->address->ai_addr, c->options.tls, c->host, &why);
        if (link == NULL) {
            chn_err__setf(&err, why.code, "%.80s:%u: %.150s", c->host, c->port, why.msg);
            continue;
        }
        c->link = link;
        c->address = c->address->ai_next;
        chn_conn__move(c, CHN_CONNECTING, chn_or(c->options.connect_ms, 5000));
        return;
    }
    chn_conn__fail(c, &err);
}

void chn_conn__on_linked(struct chn_conn *c, int status) {
    struct chn_err err, why;
    if (status < 0) {
        chn_err__setf(&err, CHN_ERR_LOST, "%.80s:%u: connect: %s", c->host, c->port,
                      uv_strerror(status));
        chn_link__close(c->link);
        c->link = NULL;
        try_address(c, &err);
        return;
    }
    int code = chn_link__start(c->link, &why);
    if (code != 0) {
        chn_err__setf(&err, code, "%.80s:%u: %.150s", c->host, c->port, why.msg);
        chn_conn__fail(c, &err);
    } else if (c->options.tls != NULL) {
        chn_conn__move(c, CHN_SECURING, chn_or(c->options.tls_ms, 5000));
    } else {
        say_hello(c);
    }
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *addresses) {
    struct resolver *resolver = (struct resolver *)(void *)req;
    struct chn_conn *c = resolver->conn;
    bool dropped = req->data == NULL;
    free(resolver);
    if (dropped) {
        uv_freeaddrinfo(addresses);
    } else {
        c->resolver = NULL;
        c->addresses = c->address = addresses;
        struct chn_err err;
        chn_err__setf(&err, CHN_ERR_LOST, "%.80s:%u: resolve: %s", c->host, c->port,
                      status < 0 ? uv_strerror(status) : "no address");
        if (status < 0) chn_conn__fail(c, &err);
        else try_address(c, &err);
    }
    chn_conn__release(c);
}

/* --- Hosts --- */

/* Begins with the present host. @return 0 or an error: nothing has begun. */
static int resolve(struct chn_conn *c) {
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (resolver == NULL) return CHN_ERR_MEMORY;
    c->host = c->hosts[c->host_at].name;
    c->port = c->hosts[c->host_at].port;
    resolver->conn = c;
    resolver->req.data = c;
    char service[8];
    snprintf(service, sizeof service, "%u", c->port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    if (uv_getaddrinfo(c->loop, &resolver->req, on_resolved, c->host, service, &hints) != 0) {
        free(resolver);
        return CHN_ERR_LOST;
    }
    c->n_open++;
    c->resolver = &resolver->req;
    chn_conn__move(c, CHN_RESOLVING, chn_or(c->options.connect_ms, 5000));
    return 0;
}

bool chn_conn__try_next_host(struct chn_conn *c) {
    forget_addresses(c);
    /* The next one in any case: a connect that comes later does not begin with the one that
     * failed. */
    c->host_at = (c->host_at + 1) % c->n_hosts;
    if (c->n_hosts_left == 0) return false;
    c->n_hosts_left--;
    return resolve(c) == 0;
}

int chn_conn__connect(struct chn_conn *c, chn_connect_cb cb, void *data) {
    if (c->state != CHN_CLOSED || c->packing.running || c->closing) return CHN_ERR_BUSY;
    c->cb.connect = cb;
    c->cb_data = data;
    c->n_hosts_left = c->n_hosts - 1;
    return resolve(c);
}
