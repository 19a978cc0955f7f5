/* See http_parse.h. The happy path: find the end of the head, split the request line, split header
 * lines, find the body. Everything that is not exactly that is an error with a status. */
#include "http_parse.h"

#include <string.h>
#include <strings.h>

static bool is_token(char c) {
    static const char marks[] = "!#$%&'*+-.^_`|~";
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
    return c != '\0' && strchr(marks, c) != NULL;
}

static struct span trimmed(struct span s) {
    while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t')) s.at++, s.len--;
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t')) s.len--;
    return s;
}

/** Take the next comma-separated element off @list. @return false when none is left. */
static bool next_element(struct span *list, struct span *out) {
    const char *comma;
    if (list->len == 0) return false;
    comma = memchr(list->at, ',', list->len);
    out->at = list->at;
    out->len = comma != NULL ? (size_t)(comma - list->at) : list->len;
    list->at += out->len + (comma != NULL);
    list->len -= out->len + (comma != NULL);
    *out = trimmed(*out);
    return true;
}

static bool names_gzip(struct span list) {
    struct span one;
    while (next_element(&list, &one)) {
        const char *semi = one.len > 0 ? memchr(one.at, ';', one.len) : NULL;
        struct span name = {one.at, semi != NULL ? (size_t)(semi - one.at) : one.len};
        if (!span__is_nocase(trimmed(name), "gzip")) continue;
        if (semi != NULL) {
            struct span q = trimmed((struct span){semi + 1, one.len - name.len - 1});
            if (q.len >= 3 && strncasecmp(q.at, "q=0", 3) == 0 &&
                strspn(q.at + 3, ".0") >= q.len - 3)
                return false;
        }
        return true;
    }
    return false;
}

/** Parse "GET /path?query HTTP/1.1". @return 0 or a status. */
static int parse_request_line(struct span line, struct http_request *out, int *minor) {
    const char *sp1 = line.len > 0 ? memchr(line.at, ' ', line.len) : NULL, *sp2, *question;
    struct span target, version;
    if (sp1 == NULL || sp1 == line.at) return 400;
    out->method = (struct span){line.at, (size_t)(sp1 - line.at)};
    for (size_t i = 0; i < out->method.len; i++)
        if (!is_token(out->method.at[i])) return 400;
    target.at = sp1 + 1;
    sp2 = memchr(target.at, ' ', line.len - out->method.len - 1);
    if (sp2 == NULL) return 400;
    target.len = (size_t)(sp2 - target.at);
    version = (struct span){sp2 + 1, line.len - out->method.len - target.len - 2};
    if (version.len != 8 || memcmp(version.at, "HTTP/", 5) != 0) return 400;
    if (!span__is(version, "HTTP/1.1") && !span__is(version, "HTTP/1.0")) return 505;
    *minor = version.at[7] - '0';
    if (target.len == 0 || target.at[0] != '/') return 400;
    for (size_t i = 0; i < target.len; i++)
        if ((unsigned char)target.at[i] <= ' ' || (unsigned char)target.at[i] >= 0x7f ||
            target.at[i] == '#')
            return 400;
    question = memchr(target.at, '?', target.len);
    out->path =
        (struct span){target.at, question != NULL ? (size_t)(question - target.at) : target.len};
    out->query = question != NULL ? (struct span){question + 1, target.len - out->path.len - 1}
                                  : (struct span){"", 0};
    return 0;
}

static int parse_header(struct span line, struct http_request *out) {
    const char *colon = memchr(line.at, ':', line.len);
    struct http_header *h;
    if (colon == NULL || colon == line.at) return 400;
    if (out->n_headers == HTTP_HEADERS_MAX) return 431;
    h = &out->headers[out->n_headers++];
    h->name = (struct span){line.at, (size_t)(colon - line.at)};
    h->value = trimmed((struct span){colon + 1, line.len - h->name.len - 1});
    for (size_t i = 0; i < h->name.len; i++)
        if (!is_token(h->name.at[i]))
            return 400; /* Also a space before the colon, and a folded line. */
    for (size_t i = 0; i < h->value.len; i++) {
        unsigned char c = (unsigned char)h->value.at[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return 400;
    }
    return 0;
}

/** Find out how long the body is, and what the headers mean for the connection. @return 0 or a
 * status. */
static int parse_meaning(struct http_request *out, int minor, size_t *body_bytes) {
    bool have_length = false, have_host = false;
    *body_bytes = 0;
    out->keep_alive = minor == 1;
    for (size_t i = 0; i < out->n_headers; i++) {
        struct span name = out->headers[i].name, value = out->headers[i].value, one;
        if (span__is_nocase(name, "content-length")) {
            size_t n = 0;
            if (value.len == 0 || value.len > 18) return 400;
            for (size_t k = 0; k < value.len; k++) {
                if (value.at[k] < '0' || value.at[k] > '9') return 400;
                n = n * 10 + (size_t)(value.at[k] - '0');
            }
            if (have_length && n != *body_bytes) return 400;
            have_length = true;
            *body_bytes = n;
        } else if (span__is_nocase(name, "transfer-encoding")) {
            return 501;
        } else if (span__is_nocase(name, "host")) {
            if (have_host) return 400;
            have_host = true;
        } else if (span__is_nocase(name, "connection")) {
            while (next_element(&value, &one)) {
                if (span__is_nocase(one, "close")) out->keep_alive = false;
                if (span__is_nocase(one, "keep-alive") && minor == 0) out->keep_alive = true;
            }
        } else if (span__is_nocase(name, "accept-encoding")) {
            out->accepts_gzip = names_gzip(value);
        }
    }
    if (minor == 1 && !have_host) return 400;
    return *body_bytes > HTTP_BODY_MAX ? 413 : 0;
}

long http__parse(const char *data, size_t n, struct http_request *out) {
    size_t at = 0, body_bytes;
    int status, minor = 1;
    bool first = true;
    memset(out, 0, sizeof *out);
    for (;;) {
        const char *cr = at < n ? memchr(data + at, '\r', n - at) : NULL;
        size_t end = cr != NULL ? (size_t)(cr - data) : n;
        struct span line = {data + at, end - at};
        /* A bare line feed or NUL is seen before the line is complete: no need to wait for more of
         * it. */
        if (line.len > 0 &&
            (memchr(line.at, '\n', line.len) != NULL || memchr(line.at, '\0', line.len) != NULL))
            return -400;
        if (end + 2 > HTTP_HEAD_MAX) return -431;
        if (end + 2 > n) return 0;
        if (data[end + 1] != '\n') return -400;
        at = end + 2;
        if (first) {
            if ((status = parse_request_line(line, out, &minor)) != 0) return -status;
            first = false;
        } else if (line.len == 0) {
            break;
        } else if ((status = parse_header(line, out)) != 0) {
            return -status;
        }
    }
    if ((status = parse_meaning(out, minor, &body_bytes)) != 0) return -status;
    if (n - at < body_bytes) return 0;
    out->body = (struct span){data + at, body_bytes};
    return (long)(at + body_bytes);
}

struct span http__header(const struct http_request *r, const char *name) {
    for (size_t i = 0; i < r->n_headers; i++)
        if (span__is_nocase(r->headers[i].name, name)) return r->headers[i].value;
    return (struct span){NULL, 0};
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/** @plus: a plus sign is a space, as in forms and not in paths. */
static long decode_value(struct span v, bool plus, char *out, size_t cap) {
    size_t n = 0;
    for (size_t i = 0; i < v.len; i++) {
        char c = v.at[i];
        if (plus && c == '+') c = ' ';
        if (c == '%') {
            int hi = i + 2 < v.len ? hex_digit(v.at[i + 1]) : -1;
            int lo = hi >= 0 ? hex_digit(v.at[i + 2]) : -1;
            if (lo < 0 || hi * 16 + lo == 0) return -2;
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        if (n + 1 >= cap) return -2;
        out[n++] = c;
    }
    if (cap == 0) return -2;
    out[n] = '\0';
    return (long)n;
}

long http__query(const struct http_request *r, const char *key, char *out, size_t cap) {
    struct span rest = r->query;
    while (rest.len > 0) {
        const char *amp = memchr(rest.at, '&', rest.len), *eq;
        struct span pair = {rest.at, amp != NULL ? (size_t)(amp - rest.at) : rest.len};
        rest.at += pair.len + (amp != NULL);
        rest.len -= pair.len + (amp != NULL);
        eq = pair.len > 0 ? memchr(pair.at, '=', pair.len) : NULL;
        if (eq == NULL) continue;
        if (!span__is((struct span){pair.at, (size_t)(eq - pair.at)}, key)) continue;
        return decode_value((struct span){eq + 1, pair.len - (size_t)(eq - pair.at) - 1}, true, out,
                            cap);
    }
    return -1;
}

int http__segments(struct span rest, char out[][HTTP_SEGMENT_MAX], int n_max) {
    int n = 0;
    while (rest.len > 0) {
        const char *slash;
        struct span one;
        if (rest.at[0] != '/' || n == n_max) return -1;
        rest.at++;
        rest.len--;
        slash = rest.len > 0 ? memchr(rest.at, '/', rest.len) : NULL;
        one = (struct span){rest.at, slash != NULL ? (size_t)(slash - rest.at) : rest.len};
        if (decode_value(one, false, out[n++], HTTP_SEGMENT_MAX) <= 0) return -1;
        rest.at += one.len;
        rest.len -= one.len;
    }
    return n;
}

const char *http__reason(int status) {
    switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 302: return "Found";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 410: return "Gone";
    case 413: return "Content Too Large";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
    }
}
