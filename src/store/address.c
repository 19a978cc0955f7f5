/* The happy path: names and ports are taken apart, the authorities are read once, and each
 * connection gets a share. What can fail: a text that names no host, a file that cannot be used. */
#include "souk/core/file.h"
#include "souk/store_address.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool store_address__parse(const char *text, char *name, size_t capacity, uint16_t *port) {
    const char *end, *after;
    if (text[0] == '[') { /* An IPv6 address, whose colons are its own. */
        text++;
        end = strchr(text, ']');
        if (end == NULL) return false;
        after = end + 1;
    } else {
        end = strchr(text, ':');
        if (end != NULL && strchr(end + 1, ':') != NULL) end = NULL; /* An address alone. */
        if (end == NULL) end = text + strlen(text);
        after = end;
    }
    size_t n = (size_t)(end - text);
    if (n == 0 || n >= capacity) return false;
    memcpy(name, text, n);
    name[n] = '\0';
    if (strpbrk(name, " \t/@") != NULL) return false;
    if (*after == '\0') return true;
    int64_t value;
    if (*after != ':' || !slice__int64(slice__str(after + 1), &value) || value < 1 ||
        value > UINT16_MAX)
        return false;
    *port = (uint16_t)value;
    return true;
}

static int add_host(struct store_address *p, const char *text, uint16_t port, struct err *e) {
    char name[256];
    if (p->n_hosts == CHN_HOSTS_MAX)
        return err__setf(e, ERR_CONFIG, "clickhouse.hosts: more than %d", CHN_HOSTS_MAX);
    if (!store_address__parse(text, name, sizeof name, &port))
        return err__setf(e, ERR_CONFIG, "clickhouse.hosts: \"%.64s\" is not host:port", text);
    char *copy = strdup(name);
    if (copy == NULL) return err__setf(e, ERR_NOMEM, "store: out of memory");
    p->hosts[p->n_hosts++] = (struct chn_host){copy, port};
    return 0;
}

static int open_tls(struct store_address *p, const struct store_tls *t, struct err *e) {
    struct chn_err err;
    struct chn_tls_options options = {.insecure = t->insecure};
    if (t->ca_file != NULL && t->ca_file[0] != '\0') options.ca_file = t->ca_file;
    if (t->server_name != NULL && t->server_name[0] != '\0') options.server_name = t->server_name;
    if (!t->enabled) return 0;
    int fd = options.ca_file == NULL ? -1 : file__open(AT_FDCWD, options.ca_file, O_RDONLY);
    if (options.ca_file != NULL && fd < 0) /* The library's own opening would wait for a FIFO. */
        return err__setf(e, ERR_CONFIG, "clickhouse.tls: TLS: authorities in %.150s: %s",
                         options.ca_file, file__strerror(errno));
    if (fd >= 0) close(fd);
    p->tls = chn_tls__new(&options, &err);
    return p->tls != NULL ? 0 : err__setf(e, ERR_CONFIG, "clickhouse.tls: %s", err.msg);
}

int store_address__init(struct store_address *p, const struct store_options *o, struct err *e) {
    int status = 0;
    *p = (struct store_address){0};
    for (size_t i = 0; i < o->n_hosts && status == 0; i++)
        status = add_host(p, o->hosts[i], o->port, e);
    if (status == 0) status = open_tls(p, &o->tls, e);
    if (status != 0) store_address__fini(p);
    return status;
}

void store_address__apply(const struct store_address *p, struct chn_options *options) {
    options->hosts = p->hosts;
    options->n_hosts = p->n_hosts;
    options->tls = p->tls;
}

void store_address__fini(struct store_address *p) {
    for (size_t i = 0; i < p->n_hosts; i++) free((char *)(uintptr_t)p->hosts[i].name);
    chn_tls__free(p->tls);
    *p = (struct store_address){0};
}
