/* A wall clock that is wrong by as much as it is told: preloaded into a program, it adds the number in
 * the file FAULTCLOCK (int64, ns, in the machine's byte order) to what the system says. The file is
 * mapped, so a test makes the clock jump while the program runs by writing its 8 bytes. The monotonic
 * clock is left alone, as it is when somebody sets a machine's time. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)

static _Atomic(int64_t) *offset; /* Mapped; NULL when there is no such file. */
static int (*next_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTCLOCK");
    next_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (next_gettime == NULL) abort();
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) offset = at;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *ts) {
    if (next_gettime == NULL) begin(); /* Somebody's constructor came first. */
    int rc = next_gettime(id, ts);
    if (rc != 0 || offset == NULL || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return rc;
    int64_t ns = (int64_t)ts->tv_sec * NS_PER_S + ts->tv_nsec + atomic_load(offset);
    ts->tv_sec = (time_t)(ns / NS_PER_S);
    ts->tv_nsec = (long)(ns % NS_PER_S);
    return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
    struct timespec ts;
    (void)tz;
    clock_gettime(CLOCK_REALTIME, &ts);
    *tv = (struct timeval){ts.tv_sec, ts.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (out != NULL) *out = ts.tv_sec;
    return ts.tv_sec;
}
