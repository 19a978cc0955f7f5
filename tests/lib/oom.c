/* See oom.h. */
#include "oom.h"
#include "score.h"
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif

#ifdef HAS_ASAN
#define REAL(name) __interceptor_##name
#define UNCHECKED __attribute__((no_sanitize("address", "undefined"), used))
int __lsan_do_recoverable_leak_check(void);
void __sanitizer_print_stack_trace(void);
#else
#define REAL(name) __libc_##name
#define UNCHECKED __attribute__((used))
#endif
extern void *REAL(malloc)(size_t);
extern void *REAL(calloc)(size_t, size_t);
extern void *REAL(realloc)(void *, size_t);

/* Plain words with atomic access: nothing of this may allocate. */
static atomic_bool armed, was_refused;
static atomic_uint_fast64_t n_asked, refused_at;
static atomic_int how;
static bool verbose;

void oom__arm(uint64_t k, enum oom_kind kind) {
    atomic_store(&n_asked, 0);
    atomic_store(&refused_at, k);
    atomic_store(&how, kind);
    atomic_store(&was_refused, false);
    atomic_store(&armed, true);
}

bool oom__disarm(void) {
    atomic_store(&armed, false);
    return atomic_load(&was_refused);
}

uint64_t oom__count(void) { return atomic_load(&n_asked); }

bool oom__no_leaks(void) {
#ifdef HAS_ASAN
    return __lsan_do_recoverable_leak_check() == 0;
#else
    return true;
#endif
}

uint64_t oom__sweep(const char *what, bool (*run)(void *ctx, uint64_t k, enum oom_kind kind),
                    void *ctx) {
    enum { EVERY_MAX = 150 };
    verbose = getenv("OOM_VERBOSE") != NULL;
    uint64_t n_refused = 0;
    run(ctx, 0, OOM_ONCE);
    uint64_t n = oom__count(), step = score__full() || n <= EVERY_MAX ? 1 : n / EVERY_MAX;
    for (int kind = 0; kind < OOM_KINDS; kind++)
        for (uint64_t k = 1;; k += step) {
            if (verbose) fprintf(stderr, "%s: allocation %llu, kind %d\n", what, (unsigned long long)k, kind);
            if (!run(ctx, k, (enum oom_kind)kind)) break;
            n_refused++;
        }
    fprintf(stderr, "%s: %llu allocations, %llu refusals survived\n", what, (unsigned long long)n,
            (unsigned long long)n_refused);
    return n_refused;
}

UNCHECKED static bool refuses(void) {
    if (!atomic_load_explicit(&armed, memory_order_relaxed)) return false;
    uint64_t n = atomic_fetch_add(&n_asked, 1) + 1, at = atomic_load(&refused_at);
    if (at == 0 || (atomic_load(&how) == OOM_ONCE ? n != at : n < at)) return false;
#ifdef HAS_ASAN
    if (verbose && !atomic_load(&was_refused)) {
        atomic_store(&armed, false);
        __sanitizer_print_stack_trace();
        atomic_store(&armed, true);
    }
#endif
    atomic_store(&was_refused, true);
    errno = ENOMEM;
    return true;
}

UNCHECKED void *malloc(size_t size) { return refuses() ? NULL : REAL(malloc)(size); }

UNCHECKED void *calloc(size_t n, size_t size) { return refuses() ? NULL : REAL(calloc)(n, size); }

UNCHECKED void *realloc(void *old, size_t size) {
    return size != 0 && refuses() ? NULL : REAL(realloc)(old, size);
}

UNCHECKED void *reallocarray(void *old, size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, bytes);
}

UNCHECKED char *strndup(const char *text, size_t max) {
    size_t len = strnlen(text, max);
    char *copy = malloc(len + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

UNCHECKED char *strdup(const char *text) { return strndup(text, strlen(text)); }
