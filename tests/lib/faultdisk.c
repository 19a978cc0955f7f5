/* A disk that fails when it is told to: preloaded into a program, it stands before the system calls of
 * a log and does what one line of the file FAULTDISK says.
 *
 *   eio N       the next N syncs fail with EIO, after the kernel has been asked and its answer dropped
 *   slow MS     each sync takes MS milliseconds longer
 *   full        writes into new space, and reservations of it, fail with ENOSPC
 *   off         nothing; so does a file that is not there
 *
 * Only files whose path holds FAULTDISK_PATH (/spool/ unless set) are meant. The control file is read
 * at each call: slow, and just right for a test. What was done is appended to FAULTDISK.log, a line an
 * injected fault: name of the call, descriptor, path. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* Syncs come from a pool of threads. */
static long n_eio_left;
static time_t eio_since_s; /* The control file's time of change, so that N counts once. */
static long eio_since_ns;

static void *next_of(const char *name) {
    void *at = dlsym(RTLD_NEXT, name);
    if (at == NULL) abort();
    return at;
}

/* @return whether @fd is a file that may be hurt; its path is in @path. */
static bool is_meant(int fd, char *path, size_t size) {
    char link[64];
    const char *part = getenv("FAULTDISK_PATH");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    if (n <= 0) return false;
    path[n] = '\0';
    return strstr(path, part == NULL ? "/spool" : part) != NULL;
}

static void note(const char *call, int fd, const char *path) {
    char log[4096];
    snprintf(log, sizeof log, "%s.log", getenv("FAULTDISK"));
    FILE *f = fopen(log, "a");
    if (f == NULL) return;
    fprintf(f, "%s %d %s\n", call, fd, path);
    fclose(f);
}

/* Reads the control line. @return its number, with its word in @word. */
static long read_control(char word[16]) {
    const char *file = getenv("FAULTDISK");
    struct stat st;
    long number = 0;
    word[0] = '\0';
    FILE *f = file == NULL ? NULL : fopen(file, "r");
    if (f == NULL) return 0;
    if (fscanf(f, "%15s %ld", word, &number) < 1) word[0] = '\0';
    if (fstat(fileno(f), &st) == 0 && (st.st_mtim.tv_sec != eio_since_s || st.st_mtim.tv_nsec != eio_since_ns)) {
        eio_since_s = st.st_mtim.tv_sec;
        eio_since_ns = st.st_mtim.tv_nsec;
        n_eio_left = strcmp(word, "eio") == 0 ? number : 0;
    }
    fclose(f);
    return number;
}

static int sync_with(const char *call, int fd) {
    int (*real)(int) = (int (*)(int))next_of(call);
    char word[16], path[4096];
    if (!is_meant(fd, path, sizeof path)) return real(fd);
    pthread_mutex_lock(&lock);
    long number = read_control(word);
    bool fails = strcmp(word, "eio") == 0 && n_eio_left > 0;
    if (fails) {
        n_eio_left--;
        note(call, fd, path);
    }
    pthread_mutex_unlock(&lock);
    if (strcmp(word, "slow") == 0) {
        struct timespec t = {.tv_sec = number / 1000, .tv_nsec = number % 1000 * 1000000};
        note(call, fd, path);
        nanosleep(&t, NULL);
    }
    if (!fails) return real(fd);
    errno = EIO;
    return -1;
}

int fdatasync(int fd) { return sync_with("fdatasync", fd); }
int fsync(int fd) { return sync_with("fsync", fd); }

static bool is_full(const char *call, int fd) {
    char word[16], path[4096];
    if (!is_meant(fd, path, sizeof path)) return false;
    pthread_mutex_lock(&lock);
    read_control(word);
    bool full = strcmp(word, "full") == 0;
    if (full) note(call, fd, path);
    pthread_mutex_unlock(&lock);
    return full;
}

int fallocate(int fd, int mode, off_t offset, off_t len) {
    int (*real)(int, int, off_t, off_t) = (int (*)(int, int, off_t, off_t))next_of("fallocate");
    if (is_full("fallocate", fd)) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, mode, offset, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset) {
    ssize_t (*real)(int, const void *, size_t, off_t) =
        (ssize_t(*)(int, const void *, size_t, off_t))next_of("pwrite");
    if (is_full("pwrite", fd)) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, bytes, n, offset);
}
