/* What the configuration opens, and to whom. */
#include "check_env.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void warn(struct checks *c, const char *name, const char *what, const char *hint) {
    if (c->n == CHECKS_MAX) return;
    struct check *x = &c->items[c->n++];
    *x = (struct check){.result = CHECK_WARN};
    snprintf(x->name, sizeof x->name, "%s", name);
    snprintf(x->what, sizeof x->what, "%s", what);
    snprintf(x->hint, sizeof x->hint, "%s", hint);
}

static bool is_loopback(const char *host) {
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return strcmp(host, "::1") == 0;
}

/* A file that holds secrets, when there is one and others may read it. */
static void warn_if_open(struct checks *c, const char *name, const char *path) {
    struct stat st;
    char what[200];
    if (path == NULL || path[0] == '\0' || stat(path, &st) != 0 || (st.st_mode & 077) == 0) return;
    snprintf(what, sizeof what, "other accounts may open %.120s (mode %03o)", path,
             (unsigned)(st.st_mode & 0777));
    warn(c, name, what, "chmod 600 it: what it holds lets in whoever reads it");
}

void check_hub__run(const struct settings *settings, struct checks *out) {
    const struct config *config = settings->config;
    bool local_only = is_loopback(config->hub.host);
    if (config->hub.open_to_local)
        warn(out, "hub.open_to_local",
             "every program and every account of this machine may read and change everything",
             "where others have accounts, or a proxy runs here, name a tokens_file instead");
    if (settings->n_tokens == 0 && !config->hub.open_to_local)
        warn(out, "hub.tokens_file", "there is no token, so nobody may ask, not even souk status",
             "name a tokens_file, or set hub.open_to_local on a machine that is yours alone");
    warn_if_open(out, "hub.tokens_file", config->hub.tokens_file);
    warn_if_open(out, "clickhouse.password_file", config->clickhouse.password_file);
    if (settings->n_tokens == 0 && !local_only)
        warn(out, "hub.host", "the hub listens beyond this machine, and there is no token",
             "name a tokens_file, or let hub.host be 127.0.0.1");
    else if (!local_only)
        warn(out, "hub.host", "the hub listens beyond this machine, where tokens go in the clear",
             "put a proxy that speaks TLS before it, and let hub.host be 127.0.0.1");
    if (config->hub.open_metrics && !local_only)
        warn(out, "hub.open_metrics", "/metrics is open to whoever reaches the port",
             "set hub.open_metrics to false, and give the scraper a token");
}
