#include "raw_disk.h"

#include "souk/core/clock.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int compare_ns(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

void sort_times(int64_t *times, size_t n) { qsort(times, n, sizeof *times, compare_ns); }

int64_t percentile(const int64_t *ascending, size_t n, unsigned percent) {
    return n == 0 ? 0 : ascending[(n - 1) * percent / 100];
}

static int write_groups(struct raw_disk *d, int fd, const char *bytes, size_t group) {
    int64_t start_ns = clock__stopwatch_ns();
    for (size_t i = 0; i < d->n; i++) {
        int64_t from_ns = clock__stopwatch_ns();
        if (pwrite(fd, bytes, group, (off_t)(i * group)) != (ssize_t)group || fdatasync(fd) != 0)
            return -1;
        d->took_ns[i] = clock__stopwatch_ns() - from_ns;
    }
    d->total_ns = clock__stopwatch_ns() - start_ns;
    sort_times(d->took_ns, d->n);
    return 0;
}

int raw_disk__run(const char *dir, size_t n, size_t group, struct raw_disk *out) {
    char path[4096];
    char *bytes = malloc(group);
    int rc = -1;
    *out = (struct raw_disk){.n = n, .took_ns = calloc(n + 1, sizeof(int64_t))};
    snprintf(path, sizeof path, "%s/raw", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0 && bytes != NULL && out->took_ns != NULL &&
        posix_fallocate(fd, 0, (off_t)(n * group)) == 0 && fdatasync(fd) == 0) {
        for (size_t i = 0; i < group; i++) bytes[i] = (char)(i * 131);
        rc = write_groups(out, fd, bytes, group);
    }
    if (fd >= 0) close(fd);
    unlink(path);
    free(bytes);
    return rc;
}

void raw_disk__fini(struct raw_disk *d) { free(d->took_ns); }
