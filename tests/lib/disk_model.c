/* See disk_model.h. A file is known by its inode; what is durable of it is kept in memory. */
#include "disk_model.h"
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512u
#define NAME_SIZE 64
#define FOLDERS 2 /* The spool's, and bad/ in it. */

/* A change of a file that is not synced. Without @bytes, a new length. */
struct change {
    unsigned char *bytes; /* Owned. */
    uint64_t offset;      /* Or the length. */
    size_t len;
};

struct file {
    ino_t ino;
    unsigned char *bytes; /* Owned: what is durable. */
    uint64_t size, cap;
    struct change *changes; /* Owned; in order. */
    size_t n_changes, changes_cap;
    bool poisoned; /* A sync of it failed. */
};

struct name {
    int folder;
    char text[NAME_SIZE];
    size_t file;
};

enum step_kind { STEP_PUT, STEP_TAKE, STEP_MOVE };

/* A change of names that is not synced. */
struct step {
    enum step_kind kind;
    struct name from, to; /* PUT fills to, TAKE fills from, MOVE both. */
};

struct disk_model {
    struct spool_io io;
    pthread_mutex_t lock;
    char dirs[FOLDERS][64];
    ino_t dir_inos[FOLDERS];
    uint64_t random, capacity, n_calls, stop_at, n_poisoned_syncs;
    unsigned sync_delay_ms;
    bool stopped;
    struct disk_fault fault;
    struct file *files;
    size_t n_files, files_cap;
    struct name *names; /* Durable. */
    size_t n_names, names_cap;
    struct step *steps;
    size_t n_steps, steps_cap;
};

static void *grown(void *items, size_t *cap, size_t n, size_t size) {
    if (n < *cap) return items;
    *cap = *cap == 0 ? 16 : *cap * 2;
    void *p = realloc(items, *cap * size);
    assert(p != NULL);
    return p;
}

static uint64_t next_u64(struct disk_model *d) {
    d->random ^= d->random << 13;
    d->random ^= d->random >> 7;
    d->random ^= d->random << 17;
    return d->random;
}

/* @return true in @percent of all calls. */
static bool chance(struct disk_model *d, unsigned percent) { return next_u64(d) % 100 < percent; }

/* Makes @f's durable bytes @size long, with zeros behind what was there. */
static void resize(struct file *f, uint64_t size) {
    if (size > f->cap) {
        f->cap = size;
        f->bytes = realloc(f->bytes, f->cap);
        assert(f->bytes != NULL);
    }
    if (size > f->size) memset(f->bytes + f->size, 0, size - f->size);
    f->size = size;
}

static void put_bytes(struct file *f, const unsigned char *bytes, uint64_t offset, size_t len) {
    if (offset + len > f->size) resize(f, offset + len);
    memcpy(f->bytes + offset, bytes, len);
}

static void forget_changes(struct file *f) {
    for (size_t i = 0; i < f->n_changes; i++) free(f->changes[i].bytes);
    f->n_changes = 0;
}

static struct file *file_of(struct disk_model *d, int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) abort();
    for (size_t i = 0; i < d->n_files; i++)
        if (d->files[i].ino == st.st_ino) return &d->files[i];
    d->files = grown(d->files, &d->files_cap, d->n_files, sizeof *d->files);
    d->files[d->n_files] = (struct file){.ino = st.st_ino};
    return &d->files[d->n_files++];
}

static void note_change(struct disk_model *d, int fd, const void *bytes, uint64_t offset,
                        size_t len) {
    struct file *f = file_of(d, fd);
    f->changes = grown(f->changes, &f->changes_cap, f->n_changes, sizeof *f->changes);
    struct change *c = &f->changes[f->n_changes++];
    *c = (struct change){.offset = offset, .len = len};
    if (bytes == NULL) return;
    c->bytes = malloc(len + 1);
    assert(c->bytes != NULL);
    memcpy(c->bytes, bytes, len);
}

static int folder_of(const struct disk_model *d, int dir_fd) {
    struct stat st;
    if (fstat(dir_fd, &st) != 0) abort();
    for (int i = 0; i < FOLDERS; i++)
        if (d->dir_inos[i] == st.st_ino) return i;
    abort(); /* The spool writes nowhere else. */
}

/* @return the name @text in the folder @dir_fd, with the file that it has now. */
static struct name name_of(struct disk_model *d, int dir_fd, const char *text) {
    struct name n = {.folder = folder_of(d, dir_fd)};
    assert(strlen(text) < NAME_SIZE);
    memcpy(n.text, text, strlen(text) + 1);
    int fd = openat(dir_fd, text, O_RDONLY | O_CLOEXEC);
    n.file = SIZE_MAX;
    if (fd < 0) return n;
    n.file = (size_t)(file_of(d, fd) - d->files);
    close(fd);
    return n;
}

static void note_step(struct disk_model *d, enum step_kind kind, const struct name *from,
                      const struct name *to) {
    d->steps = grown(d->steps, &d->steps_cap, d->n_steps, sizeof *d->steps);
    struct step *s = &d->steps[d->n_steps++];
    *s = (struct step){.kind = kind};
    if (from != NULL) s->from = *from;
    if (to != NULL) s->to = *to;
}

static void drop_name(struct disk_model *d, const struct name *n, size_t file) {
    for (size_t i = 0; i < d->n_names; i++)
        if (d->names[i].folder == n->folder && strcmp(d->names[i].text, n->text) == 0 &&
            (file == SIZE_MAX || d->names[i].file == file)) {
            d->names[i] = d->names[--d->n_names];
            return;
        }
}

static void put_name(struct disk_model *d, const struct name *n, size_t file) {
    drop_name(d, n, SIZE_MAX);
    d->names = grown(d->names, &d->names_cap, d->n_names, sizeof *d->names);
    d->names[d->n_names] = *n;
    d->names[d->n_names++].file = file;
}

static void take_step(struct disk_model *d, const struct step *s) {
    if (s->kind != STEP_PUT) drop_name(d, &s->from, s->from.file);
    if (s->kind == STEP_PUT) put_name(d, &s->to, s->to.file);
    if (s->kind == STEP_MOVE) put_name(d, &s->to, s->from.file);
}

/* Counts a call. @return 0 when it goes on; -1 with errno; 1 when a write is to be short. */
static int enter(struct disk_model *d, enum disk_call call) {
    d->n_calls++;
    if (d->stop_at != 0 && d->n_calls >= d->stop_at) {
        bool first = !d->stopped;
        d->stopped = true;
        errno = EIO;
        return first && call == DISK_WRITE ? 1 : -1;
    }
    struct disk_fault *f = &d->fault;
    if ((f->calls & (unsigned)call) == 0 || f->n_fail == 0) return 0;
    if (f->n_pass > 0) {
        f->n_pass--;
        return 0;
    }
    f->n_fail--;
    if (f->errnum == 0) return call == DISK_WRITE ? 1 : 0;
    errno = f->errnum;
    return -1;
}

uint64_t disk_model__used_bytes(const struct disk_model *d) {
    uint64_t sum = 0;
    char path[400];
    struct stat st;
    for (int i = 0; i < FOLDERS; i++) {
        DIR *dir = opendir(d->dirs[i]);
        for (struct dirent *x; dir != NULL && (x = readdir(dir)) != NULL;) {
            snprintf(path, sizeof path, "%s/%s", d->dirs[i], x->d_name);
            if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) sum += (uint64_t)st.st_size;
        }
        if (dir != NULL) closedir(dir);
    }
    return sum;
}

/* @return true when @fd may grow to @size. */
static bool has_room(const struct disk_model *d, int fd, uint64_t size) {
    struct stat st;
    if (d->capacity == 0) return true;
    if (fstat(fd, &st) != 0) abort();
    if (size <= (uint64_t)st.st_size) return true;
    if (disk_model__used_bytes(d) + size - (uint64_t)st.st_size <= d->capacity) return true;
    errno = ENOSPC;
    return false;
}

static int model_create(void *data, int dir_fd, const char *name, int flags) {
    struct disk_model *d = data;
    pthread_mutex_lock(&d->lock);
    int fd = enter(d, DISK_CREATE) < 0 ? -1 : 0;
    if (fd == 0) {
        bool there = faccessat(dir_fd, name, F_OK, 0) == 0;
        fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0640);
        if (fd >= 0 && !there) {
            file_of(d, fd)->ino = 0; /* An inode number that was used before is another file now. */
            struct name n = name_of(d, dir_fd, name);
            note_step(d, STEP_PUT, NULL, &n);
        } else if (fd >= 0 && (flags & O_TRUNC) != 0) {
            note_change(d, fd, NULL, 0, 0);
        }
    }
    int err = errno;
    pthread_mutex_unlock(&d->lock);
    errno = err;
    return fd;
}

static ssize_t model_pwrite(void *data, int fd, const void *bytes, size_t len, off_t offset) {
    struct disk_model *d = data;
    pthread_mutex_lock(&d->lock);
    int rc = enter(d, DISK_WRITE);
    ssize_t n = -1;
    if (rc == 1) len = d->stopped ? (size_t)(next_u64(d) % (len + 1)) : len / 2;
    if (rc >= 0 && has_room(d, fd, (uint64_t)offset + len)) {
        n = pwrite(fd, bytes, len, offset);
        if (n > 0) note_change(d, fd, bytes, (uint64_t)offset, (size_t)n);
    }
    int err = errno;
    if (d->stopped) n = -1, err = EIO;
    pthread_mutex_unlock(&d->lock);
    errno = err;
    return n;
}

static void sync_file(struct file *f) {
    for (size_t i = 0; i < f->n_changes; i++) {
        const struct change *c = &f->changes[i];
        if (c->bytes == NULL) resize(f, c->offset);
        else put_bytes(f, c->bytes, c->offset, c->len);
    }
    forget_changes(f);
}

static int model_fdatasync(void *data, int fd) {
    struct disk_model *d = data;
    if (d->sync_delay_ms > 0) {
        struct timespec t = {d->sync_delay_ms / 1000, (long)(d->sync_delay_ms % 1000) * 1000000};
        nanosleep(&t, NULL);
    }
    pthread_mutex_lock(&d->lock);
    struct file *f = file_of(d, fd);
    int rc = enter(d, DISK_SYNC);
    if (!d->stopped) d->n_poisoned_syncs += f->poisoned;
    if (rc == 0) {
        sync_file(f);
    } else if (!d->stopped) {
        f->poisoned = true;
        forget_changes(f);
    }
    int err = errno;
    pthread_mutex_unlock(&d->lock);
    errno = err;
    return rc;
}

static int change_length(struct disk_model *d, enum disk_call call, int fd, off_t len) {
    struct stat st;
    pthread_mutex_lock(&d->lock);
    int rc = enter(d, call);
    if (fstat(fd, &st) != 0) abort();
    bool grows = len > st.st_size;
    if (rc == 0 && grows && call == DISK_RESERVE && !has_room(d, fd, (uint64_t)len)) rc = -1;
    if (rc == 0 && (grows || call == DISK_TRUNCATE)) {
        rc = ftruncate(fd, len);
        if (rc == 0) note_change(d, fd, NULL, (uint64_t)len, 0);
    }
    int err = errno;
    pthread_mutex_unlock(&d->lock);
    errno = err;
    return rc;
}

static int model_fallocate(void *data, int fd, off_t len) {
    return change_length(data, DISK_RESERVE, fd, len);
}
static int model_ftruncate(void *data, int fd, off_t len) {
    return change_length(data, DISK_TRUNCATE, fd, len);
}

static int model_rename(void *data, int from_dir_fd, const char *from, int to_dir_fd,
                        const char *to) {
    struct disk_model *d = data;
    pthread_mutex_lock(&d->lock);
    int rc = enter(d, DISK_RENAME);
    if (rc == 0) {
        struct name a = name_of(d, from_dir_fd, from), b = name_of(d, to_dir_fd, to);
        rc = renameat(from_dir_fd, from, to_dir_fd, to);
        if (rc == 0) note_step(d, STEP_MOVE, &a, &b);
    }
    int err = errno;
    pthread_mutex_unlock(&d->lock);
    errno = err;
    return rc;
}

static int model_link(void *data, int from_dir_fd, const char *from, int to_dir_fd,
                      const char *to) {
    struct disk_model *d = data;
    pthread_mutex_lock(&d->lock);
    int rc = enter(d, DISK_LINK);
    if (rc == 0) rc = linkat(from_dir_fd, from, to_dir_fd, to, 0);
    if (rc == 0) {
        struct name n = name_of(d, to_dir_fd, to);
        note_step(d, STEP_PUT, NULL, &n);
    }
    int err = errno;
    pthread_mutex_unlock(&d->lock);
    errno = err;
    return rc;
}

static int model_unlink(void *data, int dir_fd, const char *name) {
    struct disk_model *d = data;
    pthread_mutex_lock(&d->lock);
    int rc = enter(d, DISK_UNLINK);
    if (rc == 0) {
        struct name n = name_of(d, dir_fd, name);
        rc = unlinkat(dir_fd, name, 0);
        if (rc == 0) note_step(d, STEP_TAKE, &n, NULL);
    }
    int err = errno;
    pthread_mutex_unlock(&d->lock);
    errno = err;
    return rc;
}

static int model_sync_dir(void *data, int dir_fd) {
    struct disk_model *d = data;
    pthread_mutex_lock(&d->lock);
    int rc = enter(d, DISK_SYNC_DIR);
    if (rc == 0) {
        int folder = folder_of(d, dir_fd);
        size_t left = 0;
        for (size_t i = 0; i < d->n_steps; i++) {
            const struct step s = d->steps[i];
            bool concerned = (s.kind != STEP_PUT && s.from.folder == folder) ||
                             (s.kind != STEP_TAKE && s.to.folder == folder);
            if (concerned) take_step(d, &s);
            else d->steps[left++] = s;
        }
        d->n_steps = left;
    }
    int err = errno;
    pthread_mutex_unlock(&d->lock);
    errno = err;
    return rc;
}

struct disk_model *disk_model__new(uint64_t seed) {
    setenv("UV_THREADPOOL_SIZE", "1", 0);
    struct disk_model *d = calloc(1, sizeof *d);
    assert(d != NULL);
    const char *base = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(d->dirs[0], sizeof d->dirs[0] - 8, "%s/souk_disk_XXXXXX", base);
    if (mkdtemp(d->dirs[0]) == NULL) abort();
    snprintf(d->dirs[1], sizeof d->dirs[1], "%.48s/bad", d->dirs[0]);
    if (mkdir(d->dirs[1], 0700) != 0) abort();
    for (int i = 0; i < FOLDERS; i++) {
        struct stat st;
        if (stat(d->dirs[i], &st) != 0) abort();
        d->dir_inos[i] = st.st_ino;
    }
    pthread_mutex_init(&d->lock, NULL);
    d->random = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
    for (int i = 0; i < 8; i++) next_u64(d); /* Small seeds differ in few bits. */
    d->io = (struct spool_io){.data = d,
                              .create = model_create,
                              .pwrite = model_pwrite,
                              .fdatasync = model_fdatasync,
                              .fallocate = model_fallocate,
                              .ftruncate = model_ftruncate,
                              .rename = model_rename,
                              .link = model_link,
                              .unlink = model_unlink,
                              .sync_dir = model_sync_dir};
    return d;
}

/* Takes all files away but the lock. */
static void empty_folders(const struct disk_model *d) {
    char path[400];
    for (int i = 0; i < FOLDERS; i++) {
        DIR *dir = opendir(d->dirs[i]);
        for (struct dirent *x; dir != NULL && (x = readdir(dir)) != NULL;) {
            snprintf(path, sizeof path, "%s/%s", d->dirs[i], x->d_name);
            if (x->d_type == DT_REG) unlink(path);
        }
        if (dir != NULL) closedir(dir);
    }
}

void disk_model__free(struct disk_model *d) {
    empty_folders(d);
    rmdir(d->dirs[1]);
    rmdir(d->dirs[0]);
    for (size_t i = 0; i < d->n_files; i++) {
        forget_changes(&d->files[i]);
        free(d->files[i].changes);
        free(d->files[i].bytes);
    }
    free(d->files);
    free(d->names);
    free(d->steps);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

const char *disk_model__dir(const struct disk_model *d) { return d->dirs[0]; }
const struct spool_io *disk_model__io(struct disk_model *d) { return &d->io; }

void disk_model__set_fault(struct disk_model *d, const struct disk_fault *f) {
    pthread_mutex_lock(&d->lock);
    d->fault = *f;
    pthread_mutex_unlock(&d->lock);
}

void disk_model__set_capacity(struct disk_model *d, uint64_t bytes) {
    pthread_mutex_lock(&d->lock);
    d->capacity = bytes;
    pthread_mutex_unlock(&d->lock);
}

void disk_model__set_sync_delay(struct disk_model *d, unsigned ms) { d->sync_delay_ms = ms; }

void disk_model__stop_after(struct disk_model *d, uint64_t k) {
    pthread_mutex_lock(&d->lock);
    d->stop_at = k == 0 ? 0 : d->n_calls + k;
    pthread_mutex_unlock(&d->lock);
}

bool disk_model__stopped(const struct disk_model *d) { return d->stopped; }
uint64_t disk_model__n_calls(const struct disk_model *d) { return d->n_calls; }
uint64_t disk_model__n_poisoned_syncs(const struct disk_model *d) { return d->n_poisoned_syncs; }

/* Lets some of @f's unsynced changes reach the disk, sector by sector. */
static void tear_file(struct disk_model *d, struct file *f) {
    /* Disks that lose nearly nothing and nearly all are as likely as those between. */
    static const unsigned percents[] = {0, 10, 50, 90, 100};
    unsigned percent = percents[next_u64(d) % (sizeof percents / sizeof *percents)];
    for (size_t i = 0; i < f->n_changes; i++) {
        const struct change *c = &f->changes[i];
        if (c->bytes == NULL) {
            if (chance(d, percent)) resize(f, c->offset);
            continue;
        }
        for (size_t done = 0; done < c->len;) {
            uint64_t at = c->offset + done;
            size_t n = SECTOR - (size_t)(at % SECTOR);
            if (n > c->len - done) n = c->len - done;
            if (chance(d, percent)) put_bytes(f, c->bytes + done, at, n);
            done += n;
        }
    }
}

static void tear_names(struct disk_model *d) {
    bool ordered = chance(d, 50);
    size_t n = ordered ? (size_t)(next_u64(d) % (d->n_steps + 1)) : d->n_steps;
    for (size_t i = 0; i < n; i++) {
        const struct step s = d->steps[i];
        if (ordered || chance(d, 50)) take_step(d, &s);
    }
}

/* Writes the durable files out, as the folder's only ones; forgets what was not. */
static void rebuild(struct disk_model *d) {
    char path[160];
    empty_folders(d);
    for (size_t i = 0; i < d->n_files; i++) d->files[i].ino = 0;
    for (size_t i = 0; i < d->n_names; i++) {
        const struct name *n = &d->names[i];
        struct file *f = &d->files[n->file];
        bool linked = false;
        snprintf(path, sizeof path, "%s/%s", d->dirs[n->folder], n->text);
        for (size_t k = 0; k < i && !linked; k++) {
            char other[160];
            if (d->names[k].file != n->file) continue;
            snprintf(other, sizeof other, "%s/%s", d->dirs[d->names[k].folder], d->names[k].text);
            if (link(other, path) != 0) abort();
            linked = true;
        }
        if (linked) continue;
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) != 0) abort();
        if (f->size > 0 && pwrite(fd, f->bytes, f->size, 0) != (ssize_t)f->size) abort();
        close(fd);
        f->ino = st.st_ino;
        f->poisoned = false;
        forget_changes(f);
    }
    /* Files without a name are gone; keep the others in the order of the names. */
    struct file *kept = calloc(d->n_names + 1, sizeof *kept);
    size_t *moved = calloc(d->n_files + 1, sizeof *moved), n_kept = 0;
    assert(kept != NULL && moved != NULL);
    for (size_t i = 0; i < d->n_names; i++) {
        size_t old = d->names[i].file;
        if (moved[old] == 0) {
            kept[n_kept++] = d->files[old];
            moved[old] = n_kept;
        }
        d->names[i].file = moved[old] - 1;
    }
    for (size_t i = 0; i < d->n_files; i++) {
        if (moved[i] != 0) continue;
        forget_changes(&d->files[i]);
        free(d->files[i].changes);
        free(d->files[i].bytes);
    }
    free(moved);
    free(d->files);
    d->files = kept;
    d->n_files = n_kept;
    d->files_cap = d->n_names + 1;
}

void disk_model__crash(struct disk_model *d, enum disk_crash kind) {
    pthread_mutex_lock(&d->lock);
    if (kind == DISK_POWER_CUT) {
        for (size_t i = 0; i < d->n_files; i++) tear_file(d, &d->files[i]);
        tear_names(d);
        d->n_steps = 0;
        rebuild(d);
    }
    /* The next life has descriptors of its own. What a failed sync dropped stays dropped. */
    for (size_t i = 0; i < d->n_files; i++) d->files[i].poisoned = false;
    d->stopped = false;
    d->stop_at = 0;
    d->fault = (struct disk_fault){0};
    pthread_mutex_unlock(&d->lock);
}
