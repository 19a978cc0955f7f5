/* Expressions of table definitions, as text. */
#include "souk/store.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* @s without blanks and back quotes, its intervals as functions. Owned by the caller. */
static char *normalize(const char *s) {
    char *out = malloc(strlen(s) * 2 + 1), *to = out;
    if (out == NULL) return NULL;
    while (*s != '\0') {
        unsigned n;
        char unit[16];
        int len = 0;
        if (strncasecmp(s, "INTERVAL ", 9) == 0 &&
            sscanf(s + 9, "%u %15[A-Za-z]%n", &n, unit, &len) == 2) {
            for (char *u = unit + 1; *u != '\0'; u++) *u = (char)tolower((unsigned char)*u);
            to += sprintf(to, "toInterval%c%s(%u)", toupper((unsigned char)unit[0]), unit + 1, n);
            s += 9 + len;
        } else if (isspace((unsigned char)*s) || *s == '`') {
            s++;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
    return out;
}

/* @return whether the parenthesis that @s starts with ends with @s. */
static bool is_wrapped(const char *s, size_t n) {
    int depth = 0;
    if (n < 2 || s[0] != '(') return false;
    for (size_t i = 0; i < n; i++) {
        depth += (s[i] == '(') - (s[i] == ')');
        if (depth == 0) return i == n - 1;
    }
    return false;
}

static struct slice unwrap(const char *z) {
    struct slice s = slice__str(z);
    while (is_wrapped(s.base, s.len)) s = slice__of(s.base + 1, s.len - 2);
    return s;
}

bool expression__same(const char *a, const char *b) {
    char *x = normalize(a), *y = normalize(b);
    bool same = x != NULL && y != NULL && slice__eq(unwrap(x), unwrap(y));
    free(x);
    free(y);
    return same;
}

bool expression__ttl(const char *ttl, char *column, size_t size, uint32_t *days) {
    char name[64], *text = normalize(ttl);
    int len = 0;
    bool ok =
        text != NULL &&
        sscanf(text, "toDateTime(%63[A-Za-z0-9_])+toIntervalDay(%u)%n", name, days, &len) == 2 &&
        text[len] == '\0' && strlen(name) < size;
    if (ok) snprintf(column, size, "%s", name);
    free(text);
    return ok;
}
