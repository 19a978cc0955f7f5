#include "absent.h"
#include "souk/journal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void absent__fini(struct absent_streams *t) {
    free(t->list);
    *t = (struct absent_streams){0};
}

struct absent_stream *absent__find(const struct absent_streams *t, struct slice source,
                                   struct slice key) {
    for (size_t i = 0; i < t->n; i++)
        if (slice__eq(slice__str(t->list[i].source), source) &&
            slice__eq(slice__str(t->list[i].key), key))
            return &t->list[i];
    return NULL;
}

static int grow(struct absent_streams *t, size_t n) {
    size_t cap = n < 2 * t->cap ? 2 * t->cap : n;
    if (n <= t->cap) return 0;
    struct absent_stream *list = realloc(t->list, cap * sizeof *list);
    if (list == NULL) return ERR_NOMEM;
    t->list = list;
    t->cap = cap;
    return 0;
}

int absent__reserve(struct absent_streams *t) { return grow(t, t->n + ABSENT_SPARE); }

struct absent_stream *absent__put(struct absent_streams *t, struct slice source, struct slice key) {
    struct absent_stream *s = absent__find(t, source, key);
    if (s != NULL) return s;
    if (grow(t, t->n + 1) != 0) return NULL;
    s = &t->list[t->n++];
    *s = (struct absent_stream){0};
    snprintf(s->source, sizeof s->source, "%.*s", SLICE_FMT(source));
    snprintf(s->key, sizeof s->key, "%.*s", SLICE_FMT(key));
    return s;
}

void absent__drop(struct absent_streams *t, struct absent_stream *s) { *s = t->list[--t->n]; }

/* A stretch is FROM-TO, and both ends have equally many dashes of their own. */
static const char *until_of(const char *stretch) {
    size_t n = 0;
    for (const char *at = stretch; *at != '\0'; at++) n += *at == '-';
    if (n % 2 == 0) return NULL;
    size_t middle = n / 2;
    const char *dash = strchr(stretch, '-');
    for (; middle > 0; middle--) dash = strchr(dash + 1, '-');
    return dash + 1;
}

static bool has_ended(const struct absent_stream *s) {
    char until[CURSOR_MAX];
    struct err e;
    const char *behind = strstr(s->key, JOURNAL_BACKFILL);
    const struct source_type *type = source__find(s->source);
    if (behind == NULL || type == NULL || type->reached == NULL || type->cursor == NULL)
        return false;
    const char *text = until_of(behind + strlen(JOURNAL_BACKFILL));
    return text != NULL && type->cursor(text, until, &e) == 0 && type->reached(s->cursor, until);
}

size_t absent__sweep(struct absent_streams *t) {
    size_t n = 0;
    for (size_t i = t->n; i > 0; i--) {
        if (!has_ended(&t->list[i - 1])) continue;
        absent__drop(t, &t->list[i - 1]);
        n++;
    }
    return n;
}
