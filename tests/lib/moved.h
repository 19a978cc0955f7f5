/* For tests/lib/moved.py: which metrics moved in a program of tests. What can be brought about only
 * against a model, or by hand, moves nowhere else. Does nothing unless SOUK_MOVED names a file. */
#ifndef SOUK_TESTS_MOVED_H
#define SOUK_TESTS_MOVED_H

#include "souk/core/metric.h"
#include <stdio.h>
#include <stdlib.h>

/** A series begins at 0, so that another value is its second one. */
static inline void moved__write(const struct metrics *m) {
    static unsigned n_written;
    const char *file = n_written++ < 64 ? getenv("SOUK_MOVED") : NULL; /* Some programs have a world a seed. */
    FILE *out = file == NULL || file[0] == '\0' ? NULL : fopen(file, "ae");
    if (out == NULL) return;
    setvbuf(out, NULL, _IOFBF, 1 << 16); /* One write a line: other programs append too. */
    fprintf(out, "{\"metric\":{");
    const char *comma = "";
    for (const struct metric_family *f = m->first; f != NULL; f = f->next) {
        bool moved = false;
        for (const struct series *s = f->series; s != NULL; s = s->next) moved |= s->value != 0 || s->count > 0;
        if (moved) fprintf(out, "%s\"%s\":{\"\":[0,1]}", comma, f->name);
        if (moved) comma = ",";
    }
    fprintf(out, "}}\n");
    fclose(out);
}

#endif
