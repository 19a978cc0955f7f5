/* One line of the reliability scoreboard (the cases are numbered in tests/reliability/README.md).
 *
 * A program that shows a case appends lines to the file that SOUK_SCORE names, if it is set, and
 * does more when SOUK_FULL is. A line is an object in JSON; tests/lib/scoreboard.py prints them as
 * one table. */
#ifndef SOUK_TESTS_SCORE_H
#define SOUK_TESTS_SCORE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct score {
    int case_number;
    const char *what; /* What was done, in a few words; no quotes. */
    bool passed;
    uint64_t kills, seeds, rows, lost, twice;
    double recovery_s; /* The longest; negative when there is none. */
};

/** @return true when the numbers of the scoreboard are wanted, false for what each commit runs. */
static inline bool score__full(void) {
    const char *z = getenv("SOUK_FULL");
    return z != NULL && z[0] == '1';
}
/** @return @per_commit, or @full when the numbers of the scoreboard are wanted. */
static inline uint64_t score__times(uint64_t per_commit, uint64_t full) {
    return score__full() ? full : per_commit;
}
static inline void score__write(const struct score *s) {
    const char *path = getenv("SOUK_SCORE");
    FILE *f = path == NULL || path[0] == '\0' ? NULL : fopen(path, "a");
    if (f == NULL) return;
    fprintf(f,
            "{\"case\":%d,\"what\":\"%s\",\"passed\":%s,\"kills\":%llu,\"seeds\":%llu,\"rows\":%llu,"
            "\"lost\":%llu,\"twice\":%llu,\"recovery_s\":%.3f}\n",
            s->case_number, s->what, s->passed ? "true" : "false", (unsigned long long)s->kills,
            (unsigned long long)s->seeds, (unsigned long long)s->rows, (unsigned long long)s->lost,
            (unsigned long long)s->twice, s->recovery_s);
    fclose(f);
}

#endif
