/* One exchange: the options of its transfer, what the callbacks collect, what the result means.
 *
 * Headers are kept as names and values in one bounded buffer and shown when the last of them is
 * in. The body grows in its own bounded buffer while libcurl decodes it, so a small body that
 * unpacks to a large one ends the transfer as soon as it passes the limit. */
#include "http_internal.h"
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
    TIMEOUT_S = 30,
    CONNECT_TIMEOUT_S = 10,
    LOW_SPEED_B_PER_S = 64,
    DNS_CACHE_S = 5, /* A new address is used soon; kept connections need no lookups. */
    IDLE_CONNECTION_S = 60,
    RECEIVE_BYTES = 64 << 10,
    REQUEST_HEADERS_MAX = 32,
};

static size_t abort_transfer(struct http_exchange *x, const char *kind, const char *text) {
    x->abort_kind = kind;
    x->abort_text = text;
    return CURL_WRITEFUNC_ERROR;
}

/* Counts bytes that do not fit before they are appended: the only other failure is memory. */
static const char *append_failure(const struct buf *b, size_t more) {
    return more > b->max - b->len ? "too_large" : "nomem";
}

static bool add_head(struct http_exchange *x, struct slice s) {
    if (buf__append_slice(&x->head, s)) return true;
    abort_transfer(x, append_failure(&x->head, s.len), "headers over 64 KiB");
    return false;
}

static size_t add_header(struct http_exchange *x, struct slice line) {
    size_t n = x->response.n_headers;
    if (line.base[0] == ' ' || line.base[0] == '\t') { /* A folded line continues the last one. */
        struct slice rest = slice__trim(line);
        if (n == 0) return abort_transfer(x, "protocol", "first header is folded");
        if (!add_head(x, SLICE_LIT(" ")) || !add_head(x, rest)) return CURL_WRITEFUNC_ERROR;
        x->spans[n - 1].value_len += (uint32_t)rest.len + 1;
        return 0;
    }
    const char *colon = memchr(line.base, ':', line.len);
    if (colon == NULL) return abort_transfer(x, "protocol", "header without a colon");
    if (n == HTTP_HEADERS_MAX) return abort_transfer(x, "too_large", "more than 128 headers");
    struct slice name = slice__of(line.base, (size_t)(colon - line.base));
    struct slice value = slice__trim(slice__of(colon + 1, line.len - name.len - 1));
    struct header_span *span = &x->spans[n];
    *span = (struct header_span){.name = (uint32_t)x->head.len, .name_len = (uint32_t)name.len};
    if (!add_head(x, name)) return CURL_WRITEFUNC_ERROR;
    span->value = (uint32_t)x->head.len;
    span->value_len = (uint32_t)value.len;
    if (!add_head(x, value)) return CURL_WRITEFUNC_ERROR;
    x->response.n_headers++;
    return 0;
}

/* RFC 9112, 6.3: framing that two readers may understand differently is not to be trusted. */
static const char *find_framing_error(const struct http_response *resp) {
    struct slice length = {0};
    for (size_t i = 0; i < resp->n_headers; i++) {
        if (!slice__ieq(resp->headers[i].name, SLICE_LIT("content-length"))) continue;
        if (length.base != NULL && !slice__eq(length, resp->headers[i].value))
            return "two different Content-Length";
        length = resp->headers[i].value;
    }
    if (length.base != NULL && http__header(resp, "transfer-encoding").base != NULL)
        return "both Content-Length and Transfer-Encoding";
    return NULL;
}

static size_t end_headers(struct http_exchange *x) {
    long status = 0;
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200) return 0; /* Interim: the real headers follow. */
    for (size_t i = 0; i < x->response.n_headers; i++) {
        const struct header_span *s = &x->spans[i];
        x->headers[i] =
            (struct http_header){.name = slice__of(x->head.base + s->name, s->name_len),
                                 .value = slice__of(x->head.base + s->value, s->value_len)};
    }
    x->response.headers = x->headers;
    x->response.status = (int)status;
    x->headers_done = true;
    const char *wrong = find_framing_error(&x->response);
    if (wrong != NULL) return abort_transfer(x, "protocol", wrong);
    if (x->request->headers_cb != NULL) x->request->headers_cb(x->request, &x->response);
    return 0;
}

/* libcurl hands over one line a call: the status line, headers, the empty line, trailers. */
static size_t on_header(char *base, size_t size, size_t n, void *data) {
    struct http_exchange *x = data;
    size_t len = size * n;
    struct slice line = slice__of(base, len);
    if (x->canceled) return CURL_WRITEFUNC_ERROR;
    if (x->headers_done) return len; /* A trailer: nobody asked for it. */
    if (x->response.first_byte_mono_ns == 0)
        x->response.first_byte_mono_ns = x->http->clock->mono_ns;
    while (line.len > 0 && (line.base[line.len - 1] == '\n' || line.base[line.len - 1] == '\r'))
        line.len--;
    if (slice__starts(line, SLICE_LIT("HTTP/"))) { /* Also that of the response after a 1xx. */
        buf__clear(&x->head);
        x->response.n_headers = 0;
        return len;
    }
    size_t failed = line.len == 0 ? end_headers(x) : add_header(x, line);
    return failed != 0 ? failed : len;
}

static size_t on_body(char *base, size_t size, size_t n, void *data) {
    struct http_exchange *x = data;
    struct buf *body = &x->response.body;
    size_t len = size * n;
    if (x->canceled) return CURL_WRITEFUNC_ERROR;
    if (buf__append(body, base, len)) return len;
    return abort_transfer(x, append_failure(body, len), "decoded body over its limit");
}

/* Called when a connection is there and the request goes out. libcurl would send it a second time
 * when a kept connection turns out to be dead, but the server may have counted the first. */
static int on_dispatch(void *data, char *to_ip, char *from_ip, int to_port, int from_port) {
    (void)to_ip, (void)from_ip, (void)to_port, (void)from_port;
    struct http_exchange *x = data;
    if (x->response.dispatched) {
        abort_transfer(x, "reset", "kept connection was closed before the response");
        return CURL_PREREQFUNC_ABORT;
    }
    x->response.dispatched = true;
    x->response.sent_mono_ns = x->http->clock->mono_ns;
    return CURL_PREREQFUNC_OK;
}

static bool is_clean(const char *z) {
    for (; *z != '\0'; z++)
        if ((unsigned char)*z < 0x20 || *z == 0x7f) return false;
    return true;
}

/* Sets x->where, without query and user. */
static int check_url(struct http_exchange *x, const struct http_request *r, struct err *e) {
    CURLU *url = curl_url();
    char *scheme = NULL, *host = NULL, *path = NULL;
    CURLUcode rc = CURLUE_OUT_OF_MEMORY;
    if (url != NULL && !is_clean(r->url)) rc = CURLUE_MALFORMED_INPUT;
    else if (url != NULL) rc = curl_url_set(url, CURLUPART_URL, r->url, CURLU_DISALLOW_USER);
    if (rc == CURLUE_OK) rc = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0);
    if (rc == CURLUE_OK) rc = curl_url_get(url, CURLUPART_HOST, &host, 0);
    if (rc == CURLUE_OK) rc = curl_url_get(url, CURLUPART_PATH, &path, 0);
    if (rc == CURLUE_OK && strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
        rc = CURLUE_UNSUPPORTED_SCHEME;
    if (rc == CURLUE_OK)
        snprintf(x->where, sizeof x->where, "%s %s://%s%s", r->method, scheme, host, path);
    else err__setf(e, ERR_MALFORMED, "URL \"%.80s\": %s", r->url, curl_url_strerror(rc));
    curl_free(scheme);
    curl_free(host);
    curl_free(path);
    curl_url_cleanup(url);
    return rc == CURLUE_OK ? 0 : ERR_MALFORMED;
}

static int add_lines(struct http_exchange *x, const struct http_request *r, struct err *e) {
    if (r->n_headers > REQUEST_HEADERS_MAX)
        return err__setf(e, ERR_MALFORMED, "%s: more than %d headers", x->where,
                         REQUEST_HEADERS_MAX);
    /* Without this libcurl waits for a 100 before a body over 1 MiB. */
    x->lines = curl_slist_append(NULL, "Expect:");
    for (size_t i = 0; i < r->n_headers && x->lines != NULL; i++) {
        const char *line = r->headers[i];
        if (!is_clean(line) || strchr(line, ':') == NULL || line[0] == ':')
            return err__setf(e, ERR_MALFORMED, "%s: header %zu is not \"Name: value\"", x->where,
                             i);
        struct curl_slist *longer = curl_slist_append(x->lines, line);
        if (longer == NULL) return err__setf(e, ERR_NOMEM, "%s: out of memory", x->where);
        x->lines = longer;
    }
    return x->lines == NULL ? err__setf(e, ERR_NOMEM, "%s: out of memory", x->where) : 0;
}

static long to_ms(int64_t ns, int64_t default_s) {
    if (ns <= 0) return (long)(default_s * MS_PER_S);
    return ns < NS_PER_MS ? 1 : (long)(ns / NS_PER_MS);
}

/* A request that was given up must not arrive after all when the network comes back, beside the one
 * that was sent in its place: the kernel drops what nobody has acknowledged for so long. */
static int on_socket(void *ctx, curl_socket_t fd, curlsocktype purpose) {
    const struct http *h = ctx;
    unsigned wait_ms = (unsigned)h->low_speed_s * 1000;
    (void)purpose;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &wait_ms, sizeof wait_ms);
    return CURL_SOCKOPT_OK; /* Without it the network is merely less tidy. */
}

static CURLcode set_options(struct http_exchange *x, const struct http_request *r) {
    CURLcode rc = CURLE_OK;
#define SET(option, value)                                                                         \
    if (rc == CURLE_OK) rc = curl_easy_setopt(x->easy, option, value)
    SET(CURLOPT_URL, r->url);
    SET(CURLOPT_PRIVATE, x);
    SET(CURLOPT_ERRORBUFFER, x->curl_text);
    SET(CURLOPT_USERAGENT, x->http->user_agent);
    SET(CURLOPT_HTTPHEADER, x->lines);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_ACCEPT_ENCODING, ""); /* All that this libcurl can decode. */
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (x->http->ca_file != NULL) SET(CURLOPT_CAINFO, x->http->ca_file);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* Giving up on a lookup must not wait for its thread. */
    SET(CURLOPT_DNS_CACHE_TIMEOUT, (long)DNS_CACHE_S);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_SOCKOPTFUNCTION, on_socket);
    SET(CURLOPT_SOCKOPTDATA, x->http);
    SET(CURLOPT_MAXAGE_CONN, (long)IDLE_CONNECTION_S);
    SET(CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
    SET(CURLOPT_TIMEOUT_MS, to_ms(r->timeout_ns, TIMEOUT_S));
    SET(CURLOPT_CONNECTTIMEOUT_MS, to_ms(r->connect_timeout_ns, CONNECT_TIMEOUT_S));
    SET(CURLOPT_LOW_SPEED_LIMIT, (long)LOW_SPEED_B_PER_S);
    SET(CURLOPT_LOW_SPEED_TIME, x->http->low_speed_s);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, x);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, x);
    SET(CURLOPT_PREREQFUNCTION, on_dispatch);
    SET(CURLOPT_PREREQDATA, x);
    if (x->is_head) {
        SET(CURLOPT_NOBODY, 1L);
    } else {
        /* On the wire; not for HEAD, whose Content-Length announces no bytes. */
        SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)x->response.body.max);
    }
    if (strcmp(r->method, "POST") == 0) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
        SET(CURLOPT_POSTFIELDS, r->body.base == NULL ? "" : r->body.base);
    }
#undef SET
    return rc;
}

int exchange__new(struct http_exchange **out, struct http *h, struct http_request *r,
                  struct err *e) {
    *out = NULL;
    bool is_head = strcmp(r->method, "HEAD") == 0;
    if (!is_head && strcmp(r->method, "GET") != 0 && strcmp(r->method, "POST") != 0)
        return err__setf(e, ERR_MALFORMED, "method \"%.16s\" is not GET, HEAD or POST", r->method);
    struct http_exchange *x = calloc(1, sizeof *x);
    if (x == NULL) return err__setf(e, ERR_NOMEM, "http: out of memory");
    x->http = h;
    x->request = r;
    x->is_head = is_head;
    x->start_mono_ns = h->clock->mono_ns;
    x->head = buf__init(HTTP_HEADER_BYTES_MAX);
    x->response.err_kind = "";
    x->response.body = buf__init(r->body_max > 0 ? r->body_max : HTTP_BODY_MAX_DEFAULT);
    int rc = check_url(x, r, e);
    if (rc == 0) rc = add_lines(x, r, e);
    if (rc == 0) {
        x->easy = curl_easy_init();
        CURLcode code = x->easy == NULL ? CURLE_OUT_OF_MEMORY : set_options(x, r);
        if (code != CURLE_OK)
            rc = err__setf(e, code == CURLE_OUT_OF_MEMORY ? ERR_NOMEM : ERR_MALFORMED, "%s: %s",
                           x->where, curl_easy_strerror(code));
    }
    if (rc != 0) {
        exchange__free(x);
        return rc;
    }
    *out = x;
    return 0;
}

void exchange__free(struct http_exchange *x) {
    curl_easy_cleanup(x->easy);
    curl_slist_free_all(x->lines);
    buf__fini(&x->head);
    buf__fini(&x->response.body);
    free(x);
}

static const char *kind_of(CURLcode code) {
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT: return "timeout";
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY: return "dns";
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
    case CURLE_INTERFACE_FAILED: return "connect";
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_USE_SSL_FAILED: return "tls";
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2_STREAM: return "reset";
    case CURLE_PARTIAL_FILE: return "truncated";
    case CURLE_FILESIZE_EXCEEDED:
    case CURLE_TOO_LARGE: return "too_large";
    case CURLE_BAD_CONTENT_ENCODING: return "encoding";
    case CURLE_OUT_OF_MEMORY: return "nomem";
    default: return "protocol";
    }
}

static int code_of(const char *kind) {
    static const struct {
        const char *kind;
        int code;
    } table[] = {{"timeout", ERR_TIMEOUT}, {"connect", ERR_UNAVAILABLE},
                 {"dns", ERR_UNAVAILABLE}, {"tls", ERR_REFUSED},
                 {"reset", ERR_IO},        {"truncated", ERR_IO},
                 {"too_large", ERR_LIMIT}, {"encoding", ERR_MALFORMED},
                 {"nomem", ERR_NOMEM},     {"canceled", ERR_CANCELED}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].kind, kind) == 0) return table[i].code;
    return ERR_PROTOCOL;
}

static void settle_error(struct http_exchange *x, const char *kind, const char *text) {
    struct http_response *resp = &x->response;
    resp->err_kind = kind;
    err__setf(&resp->err, code_of(kind), "%s: %s", x->where, text);
    buf__fini(&resp->body); /* A part must not be taken for the whole. */
    if (!x->headers_done) resp->n_headers = 0;
}

void exchange__settle(struct http_exchange *x, CURLcode result) {
    struct http_response *resp = &x->response;
    curl_off_t wire_bytes = 0;
    curl_easy_getinfo(x->easy, CURLINFO_SIZE_DOWNLOAD_T, &wire_bytes);
    resp->wire_bytes = wire_bytes > 0 ? (uint64_t)wire_bytes : 0;
    if (x->abort_kind != NULL) settle_error(x, x->abort_kind, x->abort_text);
    else if (result != CURLE_OK)
        settle_error(x, kind_of(result),
                     x->curl_text[0] != '\0' ? x->curl_text : curl_easy_strerror(result));
    else if (!x->headers_done) settle_error(x, "protocol", "the headers have no end");
}

void exchange__settle_canceled(struct http_exchange *x) { settle_error(x, "canceled", "canceled"); }

struct slice http__header(const struct http_response *resp, const char *name) {
    for (size_t i = 0; i < resp->n_headers && resp->headers != NULL; i++)
        if (slice__ieq(resp->headers[i].name, slice__str(name))) return resp->headers[i].value;
    return (struct slice){0};
}
