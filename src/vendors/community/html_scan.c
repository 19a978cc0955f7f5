/* The tokens of a page. */
#include "html_scan.h"

enum { REFERENCE_MAX = 12 }; /* Longest that is looked at, & and ; included. */

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* @return where @what, in any case of its letters, first stands at or behind @at; else the end. */
static size_t find(struct slice page, size_t at, const char *what) {
    struct slice want = slice__str(what);
    for (; at + want.len <= page.len; at++)
        if (slice__ieq(slice__of(page.base + at, want.len), want)) return at;
    return page.len;
}

/* @return where the tag that is open at @at ends: behind its >, which may not be quoted. */
static size_t tag_end(struct slice page, size_t at) {
    char quote = 0;
    bool value = false; /* A quote counts at the start of a value alone. */
    for (; at < page.len; at++) {
        char c = page.base[at];
        if (quote != 0) {
            if (c == quote) quote = 0;
        } else if ((c == '"' || c == '\'') && value) {
            quote = c;
            value = false;
        } else if (c == '>') {
            return at + 1;
        } else if (!is_blank(c)) {
            value = c == '=';
        }
    }
    return page.len;
}

bool html_token__is(const struct html_token *t, enum html_kind kind, const char *name) {
    return t->kind == kind && slice__ieq(t->name, slice__str(name));
}

/* Skips what is no token. @return false when there was nothing to skip. */
static bool skip(struct html_scan *s) {
    struct slice rest = slice__of(s->page.base + s->at, s->page.len - s->at);
    if (slice__starts(rest, SLICE_LIT("<!--"))) {
        size_t end = find(s->page, s->at + 4, "-->");
        s->at = end + 3 < s->page.len ? end + 3 : s->page.len;
    } else if (slice__starts(rest, SLICE_LIT("<!")) || slice__starts(rest, SLICE_LIT("<?"))) {
        s->at = tag_end(s->page, s->at + 2);
    } else {
        return false;
    }
    return true;
}

static bool starts_tag(struct slice page, size_t at) {
    size_t name = at + 1 < page.len && page.base[at + 1] == '/' ? at + 2 : at + 1;
    return name < page.len && is_letter(page.base[name]);
}

static void read_tag(struct html_scan *s, struct html_token *out) {
    struct slice page = s->page;
    bool close = page.base[s->at + 1] == '/';
    size_t from = s->at + (close ? 2 : 1), at = from, end = tag_end(page, from);
    while (at < end && !is_blank(page.base[at]) && page.base[at] != '>' && page.base[at] != '/')
        at++;
    bool whole = end > at && page.base[end - 1] == '>';
    *out = (struct html_token){.kind = close ? HTML_CLOSE : HTML_OPEN,
                               .name = slice__of(page.base + from, at - from),
                               .attrs = slice__of(page.base + at, end - at - (whole ? 1 : 0))};
    s->at = end;
    if (html_token__is(out, HTML_OPEN, "script")) s->at = find(page, end, "</script");
    else if (html_token__is(out, HTML_OPEN, "style")) s->at = find(page, end, "</style");
}

bool html_scan__next(struct html_scan *s, struct html_token *out) {
    while (s->at < s->page.len && s->page.base[s->at] == '<' && skip(s)) {
    }
    if (s->at >= s->page.len) return false;
    if (s->page.base[s->at] == '<' && starts_tag(s->page, s->at)) {
        read_tag(s, out);
        return true;
    }
    size_t from = s->at++;
    while (s->at < s->page.len && s->page.base[s->at] != '<') s->at++;
    *out = (struct html_token){.kind = HTML_TEXT,
                               .text = slice__of(s->page.base + from, s->at - from)};
    return true;
}

bool html_scan__attr(struct slice attrs, const char *name, struct slice *value) {
    size_t at = 0;
    while (at < attrs.len) {
        while (at < attrs.len && (is_blank(attrs.base[at]) || attrs.base[at] == '/')) at++;
        size_t from = at;
        while (at < attrs.len && !is_blank(attrs.base[at]) && attrs.base[at] != '=') at++;
        struct slice found = slice__of(attrs.base + from, at - from);
        while (at < attrs.len && is_blank(attrs.base[at])) at++;
        struct slice v = {0};
        if (at < attrs.len && attrs.base[at] == '=') {
            at++;
            while (at < attrs.len && is_blank(attrs.base[at])) at++;
            char quote = at < attrs.len ? attrs.base[at] : 0;
            bool quoted = quote == '"' || quote == '\'';
            from = quoted ? ++at : at;
            while (at < attrs.len && (quoted ? attrs.base[at] != quote : !is_blank(attrs.base[at])))
                at++;
            v = slice__of(attrs.base + from, at - from);
            if (quoted && at < attrs.len) at++;
        }
        if (slice__ieq(found, slice__str(name))) {
            *value = v;
            return true;
        }
    }
    return false;
}

/* Writes @code as UTF-8. @return its length. */
static size_t write_utf8(uint32_t code, char out[4]) {
    if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) code = 0xfffd;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((0xf00u >> n & 0xf0u) | code);
    return n;
}

static bool read_number(struct slice digits, uint32_t *code) {
    bool hex = digits.len > 0 && (digits.base[0] | 0x20) == 'x';
    size_t i = hex ? 1 : 0;
    if (i == digits.len) return false;
    for (*code = 0; i < digits.len; i++) {
        char c = digits.base[i], low = (char)(c | 0x20);
        uint32_t digit;
        if (c >= '0' && c <= '9') digit = (uint32_t)(c - '0');
        else if (hex && low >= 'a' && low <= 'f') digit = (uint32_t)(low - 'a' + 10);
        else return false;
        if (*code <= 0x10ffff) *code = *code * (hex ? 16 : 10) + digit;
    }
    return true;
}

/* Resolves the reference that @text starts with. @return its length, or 0 when it is none that is
 * known; *n bytes of @out are what it stands for. */
static size_t read_reference(struct slice text, char out[4], size_t *n) {
    static const struct {
        const char *name, *value;
    } known[] = {{"amp", "&"},
                 {"lt", "<"},
                 {"gt", ">"},
                 {"quot", "\""},
                 {"apos", "'"},
                 {"nbsp", " "},
                 {"ndash", "\xe2\x80\x93"},
                 {"mdash", "\xe2\x80\x94"},
                 {"times", "\xc3\x97"}};
    size_t end = 1;
    while (end < text.len && end < REFERENCE_MAX && text.base[end] != ';') end++;
    if (end >= text.len || end >= REFERENCE_MAX) return 0;
    struct slice name = slice__of(text.base + 1, end - 1);
    uint32_t code;
    if (name.len > 1 && name.base[0] == '#' &&
        read_number(slice__of(name.base + 1, name.len - 1), &code)) {
        *n = write_utf8(code == 0xa0 ? ' ' : code, out);
        return end + 1;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!slice__eq(name, slice__str(known[i].name))) continue;
        *n = strlen(known[i].value);
        memcpy(out, known[i].value, *n);
        return end + 1;
    }
    return 0;
}

/* @return the bytes of the character that starts with @c. */
static size_t utf8_len(char c) {
    unsigned char u = (unsigned char)c;
    return u >= 0xf0 ? 4 : u >= 0xe0 ? 3 : u >= 0xc0 ? 2 : 1;
}

void html_scan__text(struct buf *out, struct slice text, size_t len_max) {
    size_t at = 0;
    while (at < text.len) {
        char bytes[4];
        size_t n = utf8_len(text.base[at]), used = 0;
        if (n > text.len - at) n = text.len - at;
        if (text.base[at] == '&')
            used = read_reference(slice__of(text.base + at, text.len - at), bytes, &n);
        if (used == 0) {
            used = n;
            memcpy(bytes, text.base + at, n);
        }
        at += used;
        bool blank = n == 1 && ((unsigned char)bytes[0] <= ' ' || bytes[0] == 0x7f);
        if (blank && (out->len == 0 || out->base[out->len - 1] == ' ')) continue;
        if (out->len + n > len_max) return;
        char *to = buf__reserve(out, n);
        if (to == NULL) return;
        for (size_t i = 0; i < n; i++) to[i] = blank ? ' ' : bytes[i];
        out->len += n;
    }
}
