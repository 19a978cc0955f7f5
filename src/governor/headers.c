/* Reads rate-limit headers. A rule that is listed but cannot be read makes the whole set
 * incomplete: a missing limit must never look like "no limit". */
#include "headers.h"
#include <stdio.h>
#include <stdlib.h>

#define RULES_MAX 8

static struct slice find(const struct governor_header *headers, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (slice__ieq(slice__trim(headers[i].name), slice__str(name)))
            return slice__trim(headers[i].value);
    return (struct slice){0};
}

/** Cuts the part of @s before @sep off. @return false at the end; an empty last part counts. */
static bool next_part(struct slice *s, char sep, struct slice *part) {
    if (s->base == NULL) return false;
    const char *at = s->len == 0 ? NULL : memchr(s->base, sep, s->len);
    size_t len = at == NULL ? s->len : (size_t)(at - s->base);
    *part = slice__trim(slice__of(s->base, len));
    *s = at == NULL ? (struct slice){0} : slice__of(at + 1, s->len - len - 1);
    return true;
}

static bool parse_u32(struct slice s, uint32_t max, uint32_t *out) {
    int64_t v = 0;
    if (s.len == 0 || s.base[0] < '0' || s.base[0] > '9') return false; /* No signs. */
    if (!slice__int64(s, &v) || v < 0 || v > (int64_t)max) return false;
    *out = (uint32_t)v;
    return true;
}

static bool parse_triple(struct slice s, uint32_t max[3], uint32_t out[3]) {
    struct slice part;
    for (size_t i = 0; i < 3; i++)
        if (!next_part(&s, ':', &part) || !parse_u32(part, max[i], &out[i])) return false;
    return s.base == NULL;
}

static void copy_printable(char *out, size_t size, struct slice s) {
    size_t n = s.len < size - 1 ? s.len : size - 1;
    for (size_t i = 0; i < n; i++) out[i] = s.base[i] >= 0x20 && s.base[i] < 0x7f ? s.base[i] : '?';
    out[n] = '\0';
}

static bool rule_name(struct slice s, char out[16]) {
    if (s.len == 0 || s.len > 15) return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.base[i], low = (char)(c | 0x20);
        bool letter = low >= 'a' && low <= 'z';
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_') return false;
        out[i] = !letter ? c : i == 0 ? (char)(c & ~0x20) : low;
    }
    out[s.len] = '\0';
    return true;
}

static void fail(struct rate_headers *h, const char *what, const char *rule) {
    if (h->error[0] == '\0') snprintf(h->error, sizeof h->error, "%.80s%.15s", what, rule);
}

/** States go by position; a state whose period is not its window's is not believed. */
static void read_states(struct rate_headers *h, size_t first, struct slice value) {
    uint32_t max[3] = {UINT32_MAX, UINT32_MAX, WINDOW_RESTRICTION_MAX_S}, got[3];
    struct slice part;
    size_t i = first;
    for (; next_part(&value, ',', &part); i++) {
        if (i == h->n_windows || !parse_triple(part, max, got) ||
            got[1] != h->windows[i].period_s) {
            fail(h, "unreadable or unmatched state of rule ", h->windows[first].rule);
            return;
        }
        h->windows[i].has_state = true;
        h->windows[i].hits = got[0];
        h->windows[i].active_s = got[2];
    }
    if (i < h->n_windows) fail(h, "a window without state in rule ", h->windows[first].rule);
}

static bool read_rule(struct rate_headers *h, const struct governor_header *headers, size_t n,
                      const char *rule) {
    char name[64];
    snprintf(name, sizeof name, "X-Rate-Limit-%.15s", rule);
    struct slice value = find(headers, n, name), part;
    size_t first = h->n_windows;
    uint32_t max[3] = {WINDOW_LIMIT_MAX, WINDOW_PERIOD_MAX_S, WINDOW_RESTRICTION_MAX_S}, got[3];
    if (value.len == 0) return fail(h, "no windows for rule ", rule), false;
    while (next_part(&value, ',', &part)) {
        if (!parse_triple(part, max, got) || got[0] == 0 || got[1] == 0)
            return fail(h, "unreadable windows of rule ", rule), false;
        if (h->n_windows == WINDOWS_MAX) return fail(h, "too many windows at rule ", rule), false;
        struct rate_window *w = &h->windows[h->n_windows++];
        *w = (struct rate_window){.limit = got[0],
                                  .period_s = got[1],
                                  .restriction_s = got[2],
                                  .first = h->n_windows - 1 == first};
        snprintf(w->rule, sizeof w->rule, "%.15s", rule);
    }
    snprintf(name, sizeof name, "X-Rate-Limit-%.15s-State", rule);
    value = find(headers, n, name);
    if (value.len == 0) fail(h, "no state for rule ", rule);
    else read_states(h, first, value);
    return true;
}

static void read_rules(struct rate_headers *h, const struct governor_header *headers, size_t n,
                       struct slice rules) {
    char names[RULES_MAX][16];
    size_t n_rules = 0;
    struct slice part;
    h->complete = true;
    while (h->complete && next_part(&rules, ',', &part)) {
        bool again = false;
        if (part.len == 0) continue; /* RFC 9110 § 5.6.1: empty list elements are ignored. */
        if (n_rules == RULES_MAX || !rule_name(part, names[n_rules])) {
            fail(h, "unreadable list of rules", "");
            h->complete = false;
            break;
        }
        for (size_t i = 0; i < n_rules; i++) again |= strcmp(names[i], names[n_rules]) == 0;
        if (again) continue;
        h->complete = read_rule(h, headers, n, names[n_rules++]);
    }
    if (h->complete && h->n_windows == 0) {
        fail(h, "a policy without rules", "");
        h->complete = false;
    }
    if (!h->complete) h->n_windows = 0;
}

static int64_t days_from_civil(int64_t y, int64_t m, int64_t d) {
    /* Days since 1970-01-01 in the proleptic Gregorian calendar, years starting in March. */
    y -= m <= 2;
    int64_t era = y / 400, yoe = y - era * 400, mp = (m + 9) % 12;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + (153 * mp + 2) / 5 + d - 1 - 719468;
}

bool http_date__parse(struct slice s, int64_t *wall_ns) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[40], month[4] = "", zone[4] = "";
    int d = 0, y = 0, hh = 0, mm = 0, ss = 0, end = -1;
    s = slice__trim(s);
    if (s.len < 20 || s.len >= sizeof text || memchr(s.base, '\0', s.len) != NULL) return false;
    memcpy(text, s.base, s.len);
    text[s.len] = '\0';
    if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d %3[GMT]%n", &d, month, &y, &hh,
               &mm, &ss, zone, &end) < 7)
        end = -1;
    if (end < 0 && sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d %3[GMT]%n", &d, month,
                          &y, &hh, &mm, &ss, zone, &end) == 7)
        y += y < 70 ? 2000 : 1900;
    if (end < 0 && sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", month, &d, &hh, &mm,
                          &ss, &y, &end) < 6)
        return false;
    const char *at = strlen(month) == 3 ? strstr(months, month) : NULL;
    if (end != (int)s.len || at == NULL || (at - months) % 3 != 0) return false;
    if (d < 1 || d > 31 || y < 1970 || y > 9999 || hh < 0 || hh > 23 || mm < 0 || mm > 59 ||
        ss < 0 || ss > 60)
        return false;
    int64_t t = days_from_civil(y, (at - months) / 3 + 1, d) * 86400 + hh * 3600 + mm * 60 + ss;
    *wall_ns = (t > INT64_MAX / NS_PER_S ? INT64_MAX / NS_PER_S : t) * NS_PER_S;
    return true;
}

static int64_t read_retry_after(const struct governor_header *headers, size_t n, int64_t wall_ns) {
    struct slice value = find(headers, n, "Retry-After");
    int64_t v = 0, date = 0;
    if (value.len == 0) return -1;
    bool digits = true;
    for (size_t i = 0; i < value.len; i++) digits &= value.base[i] >= '0' && value.base[i] <= '9';
    if (digits) /* Too many digits for an int64 is a very long time, not nonsense. */
        return slice__int64(value, &v) && v < INT64_MAX / 2 / NS_PER_S ? v * NS_PER_S
                                                                       : INT64_MAX / 2;
    if (!http_date__parse(value, &date)) return -1;
    /* The server's own clock says best how far away that is. */
    int64_t from = wall_ns;
    http_date__parse(find(headers, n, "Date"), &from);
    return date > from ? date - from : 0;
}

/* What a cache kept for a while carries the Date of when it was made, and its Age since. */
static int64_t read_date(const struct governor_header *headers, size_t n) {
    int64_t date = 0, age_s = 0;
    if (!http_date__parse(find(headers, n, "Date"), &date)) return 0;
    struct slice age = find(headers, n, "Age");
    if (age.len == 0) return date;
    bool good = slice__int64(age, &age_s) && age_s >= 0 && age_s < INT64_C(1) << 31 &&
                date <= INT64_MAX - age_s * NS_PER_S;
    return good ? date + age_s * NS_PER_S : 0;
}

void rate_headers__read(struct rate_headers *h, const struct governor_header *headers, size_t n,
                        int64_t wall_ns) {
    *h = (struct rate_headers){0};
    h->retry_after_ns = read_retry_after(headers, n, wall_ns);
    h->date_wall_ns = read_date(headers, n);
    struct slice policy = find(headers, n, "X-Rate-Limit-Policy");
    struct slice rules = find(headers, n, "X-Rate-Limit-Rules");
    copy_printable(h->policy, sizeof h->policy, policy);
    h->seen = policy.len > 0 || rules.len > 0;
    if (rules.len > 0) read_rules(h, headers, n, rules);
    else if (h->seen) fail(h, "a policy without rules", "");
}

static size_t append(char *out, size_t size, size_t at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static size_t append(char *out, size_t size, size_t at, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int len = at < size ? vsnprintf(out + at, size - at, fmt, args) : 0;
    va_end(args);
    if (len < 0) return at;
    return at + (size_t)len < size ? at + (size_t)len : size - 1;
}

void rate_headers__print(const struct rate_headers *h, const struct governor_header *headers,
                         size_t n, struct governor_verdict *out) {
    size_t at = 0;
    out->raw[0] = out->state[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        char name[64], value[256];
        struct slice s = slice__trim(headers[i].name);
        bool rate = s.len > 13 && slice__ieq(slice__of(s.base, 13), SLICE_LIT("x-rate-limit-"));
        if (!rate && !slice__ieq(s, SLICE_LIT("retry-after"))) continue;
        copy_printable(name, sizeof name, s);
        copy_printable(value, sizeof value, slice__trim(headers[i].value));
        at = append(out->raw, sizeof out->raw, at, "%s: %s\n", name, value);
    }
    at = 0;
    for (size_t i = 0; i < h->n_windows; i++) {
        const struct rate_window *w = &h->windows[i];
        if (w->first)
            at = append(out->state, sizeof out->state, at, "%s%s ", i == 0 ? "" : "; ", w->rule);
        if (!w->first) at = append(out->state, sizeof out->state, at, ",");
        at = append(out->state, sizeof out->state, at, "%u:%u:%u", w->hits, w->period_s,
                    w->active_s);
    }
}
