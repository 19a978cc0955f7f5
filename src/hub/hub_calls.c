/* Calls that other rooms answer: the hub says who asks, hands over the arguments, and sends what
 * comes back. */
#include "hub_internal.h"
#include <stdlib.h>

struct hub_args {
    struct web_request *request;
    struct principal who;
};

int hub_args__text(const struct hub_args *args, const char *name, char *out, size_t size) {
    return web_request__query(args->request, name, out, size);
}

bool hub_args__header(const struct hub_args *args, size_t i, struct slice *name,
                      struct slice *value) {
    return web_request__header_at(args->request, i, name, value);
}

const char *hub_args__who(const struct hub_args *args) { return args->who.name; }

struct hub_reply {
    struct web_request *request; /* NULL once nobody waits. */
};

static void on_gone(void *data) { ((struct hub_reply *)data)->request = NULL; }

struct hub_reply *hub_args__later(const struct hub_args *args) {
    struct hub_reply *reply = calloc(1, sizeof *reply);
    if (reply == NULL) return NULL;
    reply->request = args->request;
    web_request__defer(args->request, on_gone, reply);
    return reply;
}

bool hub_reply__is_awaited(const struct hub_reply *reply) { return reply->request != NULL; }

static void respond(struct web_request *r, int status, struct slice body) {
    web_request__set_header(r, "cache-control", SLICE_LIT("no-store"));
    web_request__respond(r, status, "application/json", body, false);
}

void hub_reply__send(struct hub_reply *reply, int status, struct slice body) {
    if (reply->request != NULL) respond(reply->request, status, body);
    free(reply);
}

struct bound_call {
    struct hub *hub;
    struct hub_call call;
};

static void answer(void *data, struct web_request *r) {
    const struct bound_call *b = data;
    struct hub_args args = {.request = r};
    if (!hub__authorize(b->hub, r, b->call.write, &args.who)) return;
    struct buf out = buf__init(1 << 20);
    int status = b->call.fn(b->call.ctx, &args, &out);
    if (status != 0 && out.failed)
        web_request__error(r, 500, "internal", "the answer exceeds its bound");
    else if (status != 0) respond(r, status, buf__slice(&out));
    buf__fini(&out);
}

int hub__route_calls(struct hub *h) {
    size_t n = h->options.n_calls;
    h->calls = calloc(n + 1, sizeof *h->calls);
    if (h->calls == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        h->calls[i] = (struct bound_call){.hub = h, .call = h->options.calls[i]};
        web__route(h->web, h->calls[i].call.method, h->calls[i].call.path, answer, &h->calls[i]);
    }
    return 0;
}
