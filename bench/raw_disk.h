/** The disk itself, for benches to compare with: write and fdatasync of one group after another. */
#ifndef SOUK_BENCH_RAW_DISK_H
#define SOUK_BENCH_RAW_DISK_H

#include <stddef.h>
#include <stdint.h>

struct raw_disk {
    size_t n;         /* Groups written. */
    int64_t total_ns; /* Of all of them. */
    int64_t *took_ns; /* Owned; of each, ascending. */
};

/** Writes @n groups of @group bytes into a reserved file in @dir, as plainly as it can be done, and
 *  takes it away again. @return 0, or -1 with errno. @out is freed by raw_disk__fini. */
int raw_disk__run(const char *dir, size_t n, size_t group, struct raw_disk *out);
void raw_disk__fini(struct raw_disk *d);
/** @return the value of which @percent of @n ascending times are below. */
int64_t percentile(const int64_t *ascending, size_t n, unsigned percent);
/** Sorts @n times, ascending. */
void sort_times(int64_t *times, size_t n);

#endif
