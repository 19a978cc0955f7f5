/* For tests/lib/moved.py: which metrics moved in a program of tests. What can be brought about only
 * against a model, or by hand, moves nowhere else. Does nothing unless SOUK_MOVED names a file. */
#ifndef SOUK_TESTS_MOVED_H
#define SOUK_TESTS_MOVED_H

#include "souk/core/metric.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each name is told once by a program: some have a world for each of thousands of seeds. */
static inline bool moved__is_new(const char *name) {
    static char told[256][64];
    static size_t n;
    for (size_t i = 0; i < n; i++)
        if (strcmp(told[i], name) == 0) return false;
    if (n < sizeof told / sizeof *told) snprintf(told[n++], sizeof *told, "%s", name);
    return true;
}

/** Called at the end of a test, and wherever a gauge is other than 0 that is 0 again by then. A
 *  series begins at 0, so that another value is its second one. */
static inline void moved__write(const struct metrics *m) {
    const char *file = getenv("SOUK_MOVED");
    FILE *out = NULL;
    if (file == NULL || file[0] == '\0') return;
    for (const struct metric_family *f = m->first; f != NULL; f = f->next) {
        bool moved = false;
        for (const struct series *s = f->series; s != NULL; s = s->next)
            moved |= s->value != 0 || s->count > 0;
        if (!moved || !moved__is_new(f->name)) continue;
        bool first = out == NULL;
        if (first) out = fopen(file, "ae");
        if (out == NULL) return;
        if (first) setvbuf(out, NULL, _IOFBF, 1 << 16); /* One write a line: others append too. */
        fprintf(out, "%s\"%s\":{\"\":[0,1]}", first ? "{\"metric\":{" : ",", f->name);
    }
    if (out == NULL) return;
    fprintf(out, "}}\n");
    fclose(out);
}

#endif
