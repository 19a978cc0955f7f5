/* Requests: finds the route, shows the request, sends the answer.
 *
 * Three rules come from how h2o 2.2.5 parses: whoever sends a body gets one answer and then the end
 * of the connection, because a body with contradicting lengths would let a second request hide in
 * it; links are never built from Host; and two lines of Host, of which it keeps the last, are
 * refused. */
#include "web_internal.h"
#include <strings.h>

static const struct {
    int status;
    const char *reason;
} reasons[] = {{200, "OK"},
               {201, "Created"},
               {202, "Accepted"},
               {204, "No Content"},
               {302, "Found"},
               {304, "Not Modified"},
               {400, "Bad Request"},
               {401, "Unauthorized"},
               {403, "Forbidden"},
               {404, "Not Found"},
               {405, "Method Not Allowed"},
               {409, "Conflict"},
               {413, "Payload Too Large"},
               {421, "Misdirected Request"},
               {422, "Unprocessable Content"},
               {426, "Upgrade Required"},
               {429, "Too Many Requests"},
               {500, "Internal Server Error"},
               {503, "Service Unavailable"}};

static const char *reason_of(int status) {
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status) return reasons[i].reason;
    return "Unknown";
}

static struct slice of_iovec(h2o_iovec_t v) { return slice__of(v.base, v.len); }

struct slice web_request__method(const struct web_request *r) {
    return of_iovec(r->req->method);
}

struct slice web_request__path(const struct web_request *r) {
    struct slice path = of_iovec(r->req->path);
    if (r->req->query_at != SIZE_MAX && r->req->query_at < path.len) path.len = r->req->query_at;
    return path;
}

struct slice web_request__header(const struct web_request *r, const char *name) {
    ssize_t i = h2o_find_header_by_str(&r->req->headers, name, strlen(name), -1);
    if (i < 0) return (struct slice){0};
    struct slice value = of_iovec(r->req->headers.entries[i].value);
    while (value.len > 0 && (value.base[value.len - 1] == ' ' || value.base[value.len - 1] == '\t'))
        value.len--; /* h2o takes off those in front only. */
    return value;
}

/* @return whether the parameters behind a content coding say that it is not acceptable: q=0. */
static bool is_refused(struct slice params) {
    const char *q = memmem(params.base, params.len, "q=", 2);
    if (q == NULL) return false;
    size_t left = params.len - (size_t)(q - params.base) - 2, n = 0;
    while (n < left && (q[2 + n] == '0' || q[2 + n] == '.')) n++;
    return n > 0 && (n == left || q[2 + n] < '1' || q[2 + n] > '9');
}

bool web_request__takes_gzip(const struct web_request *r) {
    struct slice all = web_request__header(r, "accept-encoding");
    while (all.len > 0) {
        const char *comma = memchr(all.base, ',', all.len);
        size_t n = comma == NULL ? all.len : (size_t)(comma - all.base);
        struct slice one = slice__of(all.base, n);
        while (one.len > 0 && (*one.base == ' ' || *one.base == '\t'))
            one = slice__of(one.base + 1, one.len - 1);
        size_t name = 0;
        while (name < one.len && one.base[name] != ';' && one.base[name] != ' ') name++;
        if (slice__ieq(slice__of(one.base, name), SLICE_LIT("gzip")))
            return !is_refused(slice__of(one.base + name, one.len - name));
        n += comma != NULL;
        all = slice__of(all.base + n, all.len - n);
    }
    return false;
}

bool web_request__header_at(const struct web_request *r, size_t i, struct slice *name,
                            struct slice *value) {
    if (i >= r->req->headers.size) return false;
    const h2o_header_t *h = &r->req->headers.entries[i];
    *name = of_iovec(*h->name);
    *value = slice__trim(of_iovec(h->value));
    return true;
}

struct slice web_request__body(const struct web_request *r) {
    return of_iovec(r->req->entity);
}
struct slice web_request__host(const struct web_request *r) {
    return of_iovec(r->req->authority);
}
bool web_request__is_loopback(const struct web_request *r) { return r->conn->loopback; }
const char *web_request__peer(const struct web_request *r) { return r->conn->peer; }

/* Families of headers go by how their names begin: no list of them is ever whole. */
static bool is_of_proxy(struct slice name) {
    static const char *const begins[] = {
        "forwarded",   "via",           "x-forwarded", "x-original-",    "x-real-",
        "x-client-ip", "x-cluster-",    "x-envoy-",    "x-proxyuser-",   "x-appengine-",
        "cf-",         "fastly-",       "client-ip",   "true-client-ip", "x-remote-",
        "x-azure-",    "x-amzn-trace-", "x-arr-",      "proxy-",         "x-via",
        "x-host",      "x-scheme",      "x-proto",     "x-forward-",     "x-proxy-"};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        size_t n = strlen(begins[i]);
        if (name.len >= n && strncasecmp(name.base, begins[i], n) == 0) return true;
    }
    return false;
}

bool web_request__is_local(const struct web_request *r) {
    if (!r->conn->loopback || r->req->version < 0x101) return false;
    for (size_t i = 0; i < r->req->headers.size; i++)
        if (is_of_proxy(of_iovec(*r->req->headers.entries[i].name))) return false;
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode_query(struct slice in, char *out, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.base[i] == '+' ? ' ' : in.base[i];
        if (c == '%' && i + 2 < in.len) {
            int hi = hex_digit(in.base[i + 1]), lo = hex_digit(in.base[i + 2]);
            if (hi < 0 || lo < 0) return -1;
            c = (char)(hi << 4 | lo);
            i += 2;
        }
        if (n + 1 >= size || c == '\0') return -1;
        out[n++] = c;
    }
    out[n] = '\0';
    return (int)n;
}

int web_request__query(const struct web_request *r, const char *name, char *out, size_t size) {
    if (r->req->query_at == SIZE_MAX) return -1;
    struct slice all = of_iovec(r->req->path);
    const char *at = all.base + r->req->query_at + 1, *end = all.base + all.len;
    size_t name_len = strlen(name);
    while (at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        if (stop == NULL) stop = end;
        struct slice pair = slice__of(at, (size_t)(stop - at));
        if (pair.len > name_len && memcmp(pair.base, name, name_len) == 0 &&
            pair.base[name_len] == '=')
            return decode_query(slice__of(at + name_len + 1, pair.len - name_len - 1), out, size);
        at = stop + 1;
    }
    return -1;
}

void web_request__set_header(struct web_request *r, const char *name, struct slice value) {
    h2o_iovec_t copy = h2o_strdup(&r->req->pool, value.base, value.len);
    h2o_add_header_by_str(&r->req->pool, &r->req->res.headers, name, strlen(name), 1, NULL,
                          copy.base, copy.len);
}

static void prepare(struct web_request *r, int status, const char *type) {
    assert(!r->answered);
    r->answered = true;
    r->on_gone = NULL;
    r->conn->deferred = NULL;
    r->req->res.status = status;
    r->req->res.reason = reason_of(status);
    if (r->req->entity.base != NULL) r->req->http1_is_persistent = 0;
    if (type != NULL) web_request__set_header(r, "content-type", slice__str(type));
    web_request__set_header(r, "content-security-policy",
                            SLICE_LIT("default-src 'self'; connect-src 'self' ws: wss:; "
                                      "frame-ancestors 'none'"));
    web_request__set_header(r, "x-content-type-options", SLICE_LIT("nosniff"));
    web_request__set_header(r, "referrer-policy", SLICE_LIT("no-referrer"));
    if (status >= 100 && status < 600) series__inc(r->web->m_requests[status / 100]);
    r->conn->response_mono_ns = r->web->clock->mono_ns;
}

void web_request__respond(struct web_request *r, int status, const char *type, struct slice body,
                          bool is_static) {
    struct web *w = r->web;
    if (!is_static && w->answer_bytes > 0 && w->answer_bytes + body.len > WEB_ANSWERS_TOTAL_MAX) {
        web__refused(w, WEB_REFUSED_MEMORY);
        web_request__set_header(r, "retry-after", SLICE_LIT("5"));
        status = 503;
        type = "application/json";
        body = SLICE_LIT("{\"error\":{\"code\":\"unavailable\",\"msg\":\"answers to others fill "
                         "the memory for them\"}}\n");
        is_static = true;
    }
    prepare(r, status, type);
    if (!is_static) {
        r->conn->answer_bytes = body.len;
        w->answer_bytes += body.len;
    }
    h2o_iovec_t bytes = is_static ? h2o_iovec_init(body.base, body.len)
                                  : h2o_strdup(&r->req->pool, body.base, body.len);
    static h2o_generator_t generator = {NULL, NULL};
    h2o_req_t *req = r->req; /* @r may be gone behind the last call. */
    bool head = h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"));
    if (status != 304 && status != 204) req->res.content_length = body.len;
    h2o_start_response(req, &generator);
    if (head || body.len == 0) h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
    else h2o_send(req, &bytes, 1, H2O_SEND_STATE_FINAL);
}

void web_request__error(struct web_request *r, int status, const char *code, const char *msg) {
    struct buf b = buf__init(2048);
    buf__append_str(&b, "{\"error\":{\"code\":");
    buf__json_string(&b, slice__str(code));
    buf__append_str(&b, ",\"msg\":");
    buf__json_string(&b, slice__str(msg));
    buf__append_str(&b, "}}\n");
    web_request__respond(r, status, "application/json", buf__slice(&b), false);
    buf__fini(&b);
}

void web_request__defer(struct web_request *r, void (*cb)(void *data), void *data) {
    r->on_gone = cb;
    r->data = data;
    r->conn->deferred = r;
    r->conn->deferred_mono_ns = r->web->clock->mono_ns;
}

void web_request__give_up(struct web_request *r) {
    void (*cb)(void *data) = r->on_gone;
    r->on_gone = NULL;
    if (cb != NULL) cb(r->data);
    r->req->http1_is_persistent = 0;
    web_request__set_header(r, "retry-after", SLICE_LIT("5"));
    web_request__error(r, 503, "unavailable", "no answer in time; the request may have been done");
}

/* h2o disposes of a request's pool when the response is out or the connection gone. */
static void on_request_disposed(void *p) {
    struct web_request *r = p;
    r->conn->response_mono_ns = 0;
    r->conn->busy = false;
    r->web->answer_bytes -= r->conn->answer_bytes;
    r->conn->answer_bytes = 0;
    r->conn->done_turn = r->web->n_turns;
    web_guard__arm_later(r->conn); /* h2o reads on behind this. */
    if (r->conn->deferred == r) r->conn->deferred = NULL;
    void (*cb)(void *data) = r->on_gone;
    r->on_gone = NULL;
    if (cb != NULL) cb(r->data);
}

/* Headers that decide something, of which a proxy may have looked at another than we do. */
static bool is_single(struct slice name) {
    static const char *const names[] = {"host",           "origin",         "authorization",
                                        "sec-fetch-site", "content-length", "idempotency-key"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice__ieq(name, slice__str(names[i]))) return true;
    return false;
}

/* h2o keeps the last Host and Content-Length only, so we look at the bytes, which it leaves where
 * they came in until the answer is out. @return whether there are two lines of one such header. */
static bool is_ambiguous(const h2o_buffer_t *in) {
    struct slice seen[8];
    size_t n = 0;
    const char *at = in->bytes, *end = at + in->size;
    while (at < end && (*at == '\r' || *at == '\n')) at++;       /* As h2o passes it over. */
    at = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL; /* Behind the request line. */
    while (at != NULL && ++at < end && *at != '\r' && *at != '\n') {
        size_t len = (size_t)(end - at), n_name = 0;
        while (n_name < len && at[n_name] != ':' && at[n_name] != '\n') n_name++;
        struct slice name = slice__of(at, n_name);
        for (size_t i = 0; i < n; i++)
            if (slice__ieq(seen[i], name)) return true;
        if (is_single(name)) seen[n++] = name; /* Each once at most: they fit. */
        at = memchr(at, '\n', len);
    }
    return false;
}

/* @host without a port that may follow it; the brackets of an IPv6 address stay. */
static struct slice without_port(struct slice host) {
    for (size_t i = host.len; i > 0; i--) {
        char c = host.base[i - 1];
        if (c == ':') return slice__of(host.base, i - 1);
        if (c < '0' || c > '9') break;
    }
    return host;
}

static bool is_our_host(const struct web *w, struct slice host) {
    static const char *const own[] = {"127.0.0.1", "localhost", "[::1]"};
    host = without_port(host);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (slice__ieq(host, slice__str(own[i]))) return true;
    for (size_t i = 0; i < w->n_hosts; i++)
        if (slice__ieq(host, slice__str(w->hosts[i]))) return true;
    return false;
}

static void dispatch(struct web *w, struct web_request *r) {
    struct slice path = web_request__path(r), method = web_request__method(r);
    if (slice__eq(method, SLICE_LIT("HEAD"))) method = SLICE_LIT("GET");
    bool get = false, post = false;
    for (size_t i = 0; i < w->n_routes; i++) {
        const struct web_route *t = &w->routes[i];
        bool match = t->is_prefix ? slice__starts(path, slice__of(t->path, t->path_len))
                                  : slice__eq(path, slice__of(t->path, t->path_len));
        if (!match) continue;
        (strcmp(t->method, "GET") == 0 ? (get = true) : (post = true));
        if (!slice__eq(method, slice__str(t->method))) continue;
        t->fn(t->data, r);
        return;
    }
    if (!get && !post) {
        web_request__error(r, 404, "not_found", "there is nothing at this path");
        return;
    }
    const char *allow = !post ? "GET, HEAD" : get ? "GET, HEAD, POST" : "POST";
    web_request__set_header(r, "allow", slice__str(allow));
    web_request__error(r, 405, "method_not_allowed",
                       get    ? "this path does not know that method; GET reads it"
                       : post ? "this changes something: ask again with POST"
                              : "");
}

static void refuse(struct web_request *r, enum web_refusal why, const char *msg) {
    web__refused(r->web, why);
    r->req->http1_is_persistent = 0;
    web_request__set_header(r, "retry-after", SLICE_LIT("5"));
    web_request__error(r, 503, "unavailable", msg);
}

/* Requests that came before the answer to the one ahead of them: few are served, and none for a
 * peer that has left. @return false when @r was answered with why not. */
static bool may_follow(struct web_request *r) {
    struct web_conn *c = r->conn;
    if (c->done_turn != r->web->n_turns) {
        c->n_pipelined = 0;
        return true;
    }
    if (web_conn__peer_has_left(c)) {
        refuse(r, WEB_REFUSED_GONE, "you have left");
        return false;
    }
    if (++c->n_pipelined < WEB_PIPELINE_MAX) return true;
    web__refused(r->web, WEB_REFUSED_PIPELINE);
    r->req->http1_is_persistent = 0; /* Served, and told that it is the last one. */
    return true;
}

int web__on_request(h2o_handler_t *self, h2o_req_t *req) {
    struct web *w = ((struct web_handler_slot *)self)->web;
    struct web_request *r = h2o_mem_alloc_shared(&req->pool, sizeof *r, on_request_disposed);
    *r = (struct web_request){
        .req = req, .web = w, .conn = conn_of(req->conn->callbacks->get_socket(req->conn))};
    r->conn->busy = true;
    if (w->closing) {
        refuse(r, WEB_REFUSED_CLOSING, "the server is shutting down");
    } else if (!may_follow(r)) {
        return 0;
    } else if (r->conn->sock != NULL && is_ambiguous(r->conn->sock->input)) {
        req->http1_is_persistent = 0;
        web_request__error(r, 400, "bad_request", "a header that may come once came twice");
    } else if (!is_our_host(w, of_iovec(req->authority))) {
        web_request__error(r, 421, "misdirected", "this server does not serve that host");
    } else if (req->entity.len > WEB_BODY_MAX) {
        web_request__error(r, 413, "too_large", "the body exceeds 16 KiB");
    } else {
        dispatch(w, r);
    }
    return 0;
}
