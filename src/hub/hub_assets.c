/* The dashboard's files, from memory. */
#include "hub_internal.h"
#include <ctype.h>
#include <stdio.h>

static void get_asset(void *data, struct web_request *r) {
    const struct hub_asset *a = data;
    struct slice etag = slice__str(a->etag);
    web_request__set_header(r, "etag", etag);
    web_request__set_header(r, "cache-control", SLICE_LIT("no-cache")); /* Ask again, by ETag. */
    web_request__set_header(r, "vary", SLICE_LIT("accept-encoding"));
    struct slice known = web_request__header(r, "if-none-match");
    if (known.len > 0 && memmem(known.base, known.len, etag.base, etag.len) != NULL) {
        web_request__respond(r, 304, NULL, (struct slice){0}, true);
        return;
    }
    bool gz = a->gz != NULL && web_request__takes_gzip(r);
    if (gz) web_request__set_header(r, "content-encoding", SLICE_LIT("gzip"));
    struct slice body =
        gz ? slice__of((const char *)a->gz, a->gz_len) : slice__of((const char *)a->bytes, a->len);
    web_request__respond(r, 200, a->type, body, true);
}

/* The link of an alert leads to the dashboard with that alert in view. Whether it is known there is
 * not said to whom may not ask. */
static void get_alert_link(void *data, struct web_request *r) {
    (void)data;
    struct slice path = web_request__path(r), prefix = SLICE_LIT("/alerts/");
    char to[64];
    size_t n = path.len - prefix.len;
    const char *id = path.base + prefix.len;
    bool good = n > 0 && n < 40;
    for (size_t i = 0; good && i < n; i++)
        good = isalnum((unsigned char)id[i]) != 0 || id[i] == '_' || id[i] == '-';
    if (!good) {
        web_request__error(r, 404, "not_found", "that is no alert's id");
        return;
    }
    snprintf(to, sizeof to, "../#%.*s", (int)n, id); /* Wherever a proxy has put us. */
    web_request__set_header(r, "location", slice__str(to));
    web_request__respond(r, 302, NULL, (struct slice){0}, true);
}

static void get_nothing(void *data, struct web_request *r) {
    (void)data;
    web_request__respond(r, 200, "text/plain; charset=utf-8",
                         SLICE_LIT("souk: this build has no dashboard; see /api/v1/status\n"),
                         true);
}

void hub__route_assets(struct hub *h) {
    bool has_index = false;
    for (size_t i = 0; i < h->options.n_assets; i++) {
        const struct hub_asset *a = &h->options.assets[i];
        web__route(h->web, "GET", a->path, get_asset, (void *)(uintptr_t)a);
        if (strcmp(a->path, "/runbook.html") == 0)
            web__route(h->web, "GET", "/runbook", get_asset, (void *)(uintptr_t)a);
        if (strcmp(a->path, "/index.html") != 0) continue;
        has_index = true;
        web__route(h->web, "GET", "/", get_asset, (void *)(uintptr_t)a);
    }
    web__route(h->web, "GET", "/alerts/*", get_alert_link, h);
    if (!has_index) web__route(h->web, "GET", "/", get_nothing, h);
}
