/* The table of sources, and what they share. */
#include "souk/source.h"
#include "souk/tables.h"
#include <stdio.h>

extern const struct source_type source_account_stashes, source_currency_exchange, source_enrichment,
    source_leagues, source_oauth, source_poe_ninja, source_psapi, source_trade_data;

/* Sorted by name. */
static const struct source_type *const source_types[] = {
    &source_account_stashes, &source_currency_exchange, &source_enrichment, &source_leagues,
    &source_oauth,           &source_poe_ninja,         &source_psapi,      &source_trade_data,
};

const struct source_type *const *source__all(size_t *n) {
    *n = sizeof source_types / sizeof *source_types;
    return source_types;
}

const struct source_type *source__find(const char *name) {
    for (size_t i = 0; i < sizeof source_types / sizeof *source_types; i++)
        if (strcmp(source_types[i]->name, name) == 0) return source_types[i];
    return NULL;
}

struct slice source__header(const struct source_answer *answer, struct slice name) {
    for (size_t i = 0; i < answer->n_headers; i++)
        if (slice__ieq(answer->headers[i].name, name)) return slice__trim(answer->headers[i].value);
    return slice__of(NULL, 0);
}

void source__etag(const struct source_answer *answer, char out[CURSOR_MAX]) {
    struct slice etag = source__header(answer, SLICE_LIT("etag"));
    out[0] = '\0';
    if (etag.len == 0 || etag.len >= CURSOR_MAX) return;
    for (size_t i = 0; i < etag.len; i++)
        if ((unsigned char)etag.base[i] < ' ' || etag.base[i] == 0x7f) return;
    memcpy(out, etag.base, etag.len);
    out[etag.len] = '\0';
}

void source__body_cursor(struct slice body, char out[CURSOR_MAX]) {
    char hash[TABLES_HASH_SIZE];
    tables__hash(body, hash);
    snprintf(out, CURSOR_MAX, "xxh3-%s", hash);
}

bool source__is_cursor(struct slice s) {
    if (s.len == 0 || s.len >= CURSOR_MAX) return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.base[i] <= ' ' || s.base[i] > '~') return false;
    return true;
}

struct slice source__league_key(const struct decode_context *context, struct slice league) {
    for (size_t i = 0; i < context->n_followed; i++)
        if (league.len < sizeof((struct rows_batch *)0)->part &&
            slice__eq(slice__str(context->followed[i]), league))
            return league;
    return SLICE_LIT("other");
}

bool source__url_append(char *out, size_t size, struct slice bytes) {
    size_t at = strlen(out);
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = (unsigned char)bytes.base[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (at + (plain ? 1 : 3) >= size) return false;
        if (plain) out[at++] = (char)c;
        else at += (size_t)snprintf(out + at, size - at, "%%%02X", c);
        out[at] = '\0';
    }
    return true;
}
