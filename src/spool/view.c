/* A window over the bytes of one segment. Reads are at least VIEW_WINDOW long, so that walking
 * small records costs no system call each. */
#include "view.h"
#include "souk/core/file.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VIEW_WINDOW ((size_t)256 << 10)
#define VIEW_WINDOW_MAX (SPOOL_RECORD_MAX + VIEW_WINDOW)
#define BLOCK 4096u
#define EXTENTS_MAX 1024 /* Pieces of a file that are looked at for its last one. */

int view__open(struct spool_view *v, int dir_fd, uint64_t segment) {
    char name[SEGMENT_NAME_SIZE];
    view__close(v);
    segment_name(segment, ".wal", name);
    int fd = file__open(dir_fd, name, O_RDONLY);
    if (fd < 0) return -errno;
    v->fd = fd;
    v->segment = segment;
    v->window.max = VIEW_WINDOW_MAX;
    int err = view__whole(v);
    if (err != 0) view__close(v);
    return err;
}

int view__whole(struct spool_view *v) {
    struct stat st;
    if (fstat(v->fd, &st) != 0) return -errno;
    v->limit = (uint64_t)st.st_size;
    return 0;
}

void view__close(struct spool_view *v) {
    if (v->segment != 0) close(v->fd);
    v->segment = 0;
    v->window_off = 0;
    buf__clear(&v->window);
}

void view__fini(struct spool_view *v) {
    view__close(v);
    buf__fini(&v->window);
}

/* Reads [@offset, @offset + @len) into @out. @return bytes read, fewer at the end of the file. */
static ssize_t read_range(int fd, unsigned char *out, uint64_t offset, size_t len, bool tolerant) {
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(fd, out + done, len - done, (off_t)(offset + done));
        if (n == 0) break;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EIO && tolerant) {
            /* Find out block by block what can be read; what cannot fails its CRC as zeros. */
            size_t block = BLOCK - (size_t)((offset + done) % BLOCK);
            if (block > len - done) block = len - done;
            n = pread(fd, out + done, block, (off_t)(offset + done));
            if (n <= 0) memset(out + done, 0, block), n = (ssize_t)block;
        }
        if (n < 0) return -errno;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

const unsigned char *view__bytes(struct spool_view *v, uint64_t offset, size_t len, bool tolerant,
                                 int *err) {
    *err = 0;
    if (offset > v->limit || v->limit - offset < len) return NULL;
    if (offset < v->window_off || offset + len > v->window_off + v->window.len) {
        size_t want = len > VIEW_WINDOW ? len : VIEW_WINDOW;
        if (want > v->limit - offset) want = (size_t)(v->limit - offset);
        buf__clear(&v->window);
        v->window_off = offset;
        unsigned char *at = (unsigned char *)buf__reserve(&v->window, want);
        if (at == NULL) {
            buf__clear(&v->window);
            *err = -ENOMEM;
            return NULL;
        }
        ssize_t n = read_range(v->fd, at, offset, want, tolerant);
        if (n < 0) {
            *err = (int)n;
            return NULL;
        }
        v->window.len = (size_t)n;
        if ((size_t)n < want) v->limit = offset + (uint64_t)n; /* Cut short while we look. */
        if ((size_t)n < len) return NULL;
    }
    return (const unsigned char *)v->window.base + (offset - v->window_off);
}

int view__record(struct spool_view *v, const struct spool_form *f, uint64_t offset, bool tolerant,
                 struct record_header *out, struct slice *payload) {
    int err;
    const unsigned char *p = view__bytes(v, offset, RECORD_HEADER, tolerant, &err);
    if (p == NULL || !record__decode(f, v->segment, offset, p, out)) return err;
    uint64_t extent = record__extent(out->len);
    if (extent > v->limit - offset) return 0;
    if (out->type != RECORD_GAP) {
        p = view__bytes(v, offset, (size_t)extent, tolerant, &err);
        if (p == NULL) return err;
    }
    if (!record__intact(f, v->segment, offset, p)) return 0;
    if (payload != NULL)
        *payload = out->type == RECORD_GAP ? (struct slice){0}
                                           : slice__of((const char *)p + RECORD_HEADER, out->len);
    return 1;
}

/* @return the first offset from @offset on that may hold something else than zeros: space that was
 * set aside and never written need not be read. The limit when there is none. */
static uint64_t skip_hole(const struct spool_view *v, uint64_t offset) {
    off_t data = lseek(v->fd, (off_t)offset, SEEK_DATA);
    if (data < 0) return errno == ENXIO ? v->limit : offset;
    return (uint64_t)data > offset ? (uint64_t)data & ~7ull : offset;
}

void view__skip_reserved(struct spool_view *v) {
    uint64_t end = 0;
    for (int i = 0; i < EXTENTS_MAX && end < v->limit; i++) {
        off_t data = lseek(v->fd, (off_t)end, SEEK_DATA);
        if (data < 0 && errno != ENXIO) return; /* No such question here. */
        off_t hole = data < 0 ? -1 : lseek(v->fd, data, SEEK_HOLE);
        if (hole < 0) {
            v->limit = (end + 7) & ~7ull;
            return;
        }
        end = (uint64_t)hole;
    }
}

int view__data_end(struct spool_view *v, uint64_t offset, bool tolerant, uint64_t *end) {
    *end = offset;
    for (offset = skip_hole(v, offset); offset < v->limit; offset = skip_hole(v, offset)) {
        size_t len = v->limit - offset < BLOCK ? (size_t)(v->limit - offset) : BLOCK;
        int err;
        const unsigned char *p = view__bytes(v, offset, len, tolerant, &err);
        if (p == NULL && err != 0) return err;
        if (p == NULL) break;
        if (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0) { /* All zeros. */
            offset += len;
            continue;
        }
        for (size_t i = len; i > 0; i--)
            if (p[i - 1] != 0) {
                *end = (offset + i + 7) & ~7ull;
                break;
            }
        offset += len;
    }
    return 0;
}

static uint64_t load_le64(const unsigned char *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

int view__resync(struct spool_view *v, const struct spool_form *f, uint64_t offset, bool tolerant,
                 uint64_t *found) {
    struct record_header h;
    uint64_t hole_checked = 0;
    for (; offset + RECORD_HEADER <= v->limit; offset += 8) {
        int err;
        if (offset >= hole_checked) {
            offset = skip_hole(v, offset);
            hole_checked = offset + VIEW_WINDOW;
        }
        const unsigned char *p = view__bytes(v, offset, RECORD_HEADER, tolerant, &err);
        if (p == NULL && err != 0) return err;
        if (p == NULL) break;
        /* The position that a header repeats tells nearly all other bytes apart, eight at a time.
         */
        size_t n_ahead = (size_t)(v->window_off + v->window.len - offset) - RECORD_HEADER;
        while (n_ahead >= 8 && load_le64(p + 8) != form__lsn(f, v->segment, offset)) {
            p += 8;
            offset += 8;
            n_ahead -= 8;
        }
        if (!record__decode(f, v->segment, offset, p, &h)) continue;
        int rc = view__record(v, f, offset, tolerant, &h, NULL);
        if (rc < 0) return rc;
        if (rc == 0) continue;
        *found = offset;
        return 0;
    }
    *found = v->limit;
    return 0;
}
