/* Memory that ends when a test says so: the program's malloc, calloc, realloc, strdup and their kin,
 * of libraries that are linked dynamically as well, fail at the k-th call.
 *
 * The functions take the place of libc's; under AddressSanitizer they hand on to its own, so that
 * leaks and misuse are still seen. What sanitizers and the loader need for themselves never fails.
 *
 *     static bool run(void *ctx, uint64_t k, enum oom_kind kind) {
 *         ... what it needs, with memory
 *         oom__arm(k, kind);
 *         ... the thing
 *         bool hit = oom__disarm();
 *         ... what must hold
 *         return hit;
 *     }
 *     n = oom__sweep("the thing", run, ctx);
 */
#ifndef SOUK_TESTS_OOM_H
#define SOUK_TESTS_OOM_H

#include <stdbool.h>
#include <stdint.h>

enum oom_kind {
    OOM_ONCE, /* One call fails, and those after it find memory again. */
    OOM_LAST, /* From that call on there is none. */
    OOM_KINDS,
};

/** The @k-th allocation from now on fails, counted over all threads. 0: none does, they are only
 *  counted. */
void oom__arm(uint64_t k, enum oom_kind kind);
/** Memory is back. @return true when an allocation was refused since oom__arm. */
bool oom__disarm(void);
/** @return how many allocations were asked for since oom__arm. */
uint64_t oom__count(void);
/** Runs @run for k = 1, 2, … in each kind, until it returns false: no allocation was refused, so all
 *  were tried. Unless SOUK_FULL=1 is set, of more than 150 allocations every n-th is refused, about
 *  150 in all. OOM_VERBOSE=1 tells each k, and where it is. @return how many were refused. */
uint64_t oom__sweep(const char *what, bool (*run)(void *ctx, uint64_t k, enum oom_kind kind),
                    void *ctx);
/** @return false when there is something that nothing points to any more (always true without
 *  AddressSanitizer). */
bool oom__no_leaks(void);

#endif
