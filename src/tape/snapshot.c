/* The tape on disk, so that a restart does not forget. One file: a head, what is in memory in the
 * order of its age, and an xxh3-64 over all of it. It is read on the machine that wrote it, or one
 * of the same byte order; the head says which. */
#include "tape_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC                                                                                      \
    0x32455041544b5553ull /* SUKTAPE2: in 1, asks were compared by the text of the note. */
#define IO_BYTES ((size_t)1 << 20)

struct head {
    uint64_t magic, lsn;
    uint32_t item_bytes, stash_bytes, removal_bytes, market_bytes;
    uint64_t n_stashes;
    uint32_t n_names, n_realms, n_removals, n_additions, n_markets, spare;
};

struct stream {
    FILE *file;
    XXH3_state_t *hash;
    bool failed;
};

static void put(struct stream *o, const void *bytes, size_t n) {
    if (n == 0 || o->failed) return;
    XXH3_64bits_update(o->hash, bytes, n);
    if (fwrite(bytes, 1, n, o->file) != n) o->failed = true;
}

static bool get(struct stream *o, void *bytes, size_t n) {
    if (n == 0) return !o->failed;
    if (o->failed || fread(bytes, 1, n, o->file) != n) o->failed = true;
    else XXH3_64bits_update(o->hash, bytes, n);
    return !o->failed;
}

static void put_names(struct stream *o, const struct tape *t) {
    for (uint32_t i = 1; i < t->n_names; i++) {
        uint16_t len = (uint16_t)strlen(t->names[i]);
        put(o, &len, sizeof len);
        put(o, t->names[i], len);
    }
}

static void put_all(struct stream *o, const struct tape *t, uint64_t lsn) {
    const struct head head = {.magic = MAGIC,
                              .lsn = lsn,
                              .item_bytes = sizeof(struct item),
                              .stash_bytes = sizeof(struct stash),
                              .removal_bytes = sizeof(struct removal),
                              .market_bytes = sizeof(struct market),
                              .n_stashes = t->n_stashes,
                              .n_names = t->n_names,
                              .n_realms = (uint32_t)t->n_realms,
                              .n_removals = t->recent.n_max,
                              .n_additions = t->recent.n_max,
                              .n_markets = t->markets.n_buckets};
    put(o, &head, sizeof head);
    put_names(o, t);
    put(o, t->realms, t->n_realms * sizeof t->realms[0]);
    for (const struct stash *s = t->oldest; s != NULL; s = s->newer)
        put(o, s, stash__bytes(s->n_items, s->seller_len));
    /* From the oldest on, so that reading adds them in the same order. */
    for (uint32_t i = 0; i < t->recent.n_max; i++)
        put(o, &t->recent.removals[(t->recent.removal_at + i) % t->recent.n_max],
            sizeof(struct removal));
    for (uint32_t i = 0; i < t->recent.n_max; i++)
        put(o, &t->recent.additions[(t->recent.addition_at + i) % t->recent.n_max],
            sizeof(struct addition));
    put(o, t->markets.slots, markets__bytes(&t->markets));
    uint64_t sum = XXH3_64bits_digest(o->hash);
    put(o, &sum, sizeof sum);
}

static int sync_folder(const char *path) {
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL) snprintf(dir, sizeof dir, ".");
    else slash[slash == dir] = '\0';
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    int rc = fsync(fd);
    close(fd);
    return rc;
}

int tape__save(const struct tape *t, const char *path, uint64_t lsn, struct err *e) {
    char beside[4096];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside)
        return err__setf(e, ERR_LIMIT, "%.64s...: the path is too long", path);
    struct stream o = {.file = fopen(beside, "wbe"), .hash = XXH3_createState()};
    if (o.file != NULL && o.hash != NULL) {
        setvbuf(o.file, NULL, _IOFBF, IO_BYTES);
        XXH3_64bits_reset(o.hash);
        put_all(&o, t, lsn);
        if (fflush(o.file) != 0 || fsync(fileno(o.file)) != 0) o.failed = true;
    } else {
        o.failed = true;
    }
    int err = errno;
    if (o.file != NULL && fclose(o.file) != 0) o.failed = true;
    XXH3_freeState(o.hash);
    if (!o.failed && (rename(beside, path) != 0 || sync_folder(path) != 0)) {
        err = errno;
        o.failed = true;
    }
    if (!o.failed) return 0;
    unlink(beside);
    return err__setf(e, ERR_IO, "%s: %s", path, strerror(err));
}

static bool get_names(struct stream *o, struct tape *t, uint32_t n) {
    char text[256];
    for (uint32_t i = 1; i < n; i++) {
        uint16_t len;
        if (!get(o, &len, sizeof len) || len == 0 || len >= sizeof text || !get(o, text, len) ||
            names__number(t, slice__of(text, len)) != i)
            return false;
    }
    return true;
}

static bool get_stash(struct stream *o, struct tape *t) {
    struct stash head;
    if (!get(o, &head, sizeof head) || head.n_items > ITEMS_MAX || head.seller_len > SELLER_MAX ||
        head.league >= t->n_names || stashes__find(t, head.id) != NULL)
        return false;
    struct stash *s = malloc(stash__bytes(head.n_items, head.seller_len));
    if (s == NULL) return false;
    *s = head;
    bool ok = get(o, s->tail, stash__bytes(head.n_items, head.seller_len) - sizeof head);
    for (uint32_t i = 0; ok && i < s->n_items; i++) {
        const struct item *item = &stash__items(s)[i];
        ok = item->currency < t->n_names &&
             (i == 0 || memcmp(item[-1].id, item->id, TAPE_ID_BYTES) < 0);
    }
    if (ok && stashes__put(t, s, NULL) == 0) return true;
    free(s);
    return false;
}

static bool get_recent(struct stream *o, struct recent *r, const struct head *head) {
    struct removal gone;
    struct addition came;
    for (uint32_t i = 0; i < head->n_removals; i++) {
        if (!get(o, &gone, sizeof gone)) return false;
        /* Those taken back too: a ring of another fill would forget at another time. */
        if (gone.listed_s != 0) recent__add_removal(r, &gone);
    }
    for (uint32_t i = 0; i < head->n_additions; i++) {
        if (!get(o, &came, sizeof came)) return false;
        if (came.came_s != 0) recent__add_addition(r, came.id_hash, came.stash_hash, came.came_s);
    }
    return true;
}

/* Markets of another size are not worth a conversion: a day makes them anew. */
static bool get_markets(struct stream *o, struct markets *m, const struct head *head) {
    if (head->n_markets == m->n_buckets) return get(o, m->slots, markets__bytes(m));
    struct market bucket[4];
    for (uint32_t i = 0; i < head->n_markets; i++)
        if (!get(o, bucket, sizeof bucket)) return false;
    return true;
}

static bool get_all(struct stream *o, struct tape *t, uint64_t *lsn) {
    struct head head;
    if (!get(o, &head, sizeof head) || head.magic != MAGIC ||
        head.item_bytes != sizeof(struct item) || head.stash_bytes != sizeof(struct stash) ||
        head.removal_bytes != sizeof(struct removal) ||
        head.market_bytes != sizeof(struct market) || head.n_names > NAMES_MAX ||
        head.n_realms > REALMS_MAX)
        return false;
    if (!get_names(o, t, head.n_names) || !get(o, t->realms, head.n_realms * sizeof t->realms[0]))
        return false;
    t->n_realms = head.n_realms;
    for (size_t i = 0; i < t->n_realms; i++)
        if (memchr(t->realms[i].realm, 0, sizeof t->realms[i].realm) == NULL) return false;
    for (uint64_t i = 0; i < head.n_stashes; i++)
        if (!get_stash(o, t)) return false;
    if (!get_recent(o, &t->recent, &head) || !get_markets(o, &t->markets, &head)) return false;
    uint64_t sum = XXH3_64bits_digest(o->hash), said;
    *lsn = head.lsn;
    return get(o, &said, sizeof said) && said == sum && fgetc(o->file) == EOF;
}

int tape__peek(const char *path, uint64_t *lsn, struct err *e) {
    struct head head;
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return err__setf(e, ERR_IO, "%s: %s", path, strerror(errno));
    bool ok = fread(&head, sizeof head, 1, file) == 1 && head.magic == MAGIC;
    fclose(file);
    if (!ok) return err__setf(e, ERR_CORRUPT, "%s is damaged, or of another version", path);
    *lsn = head.lsn;
    return 0;
}

int tape__load(struct tape *t, const char *path, uint64_t *lsn, struct err *e) {
    struct stream o = {.file = fopen(path, "rbe")};
    if (o.file == NULL) return err__setf(e, ERR_IO, "%s: %s", path, strerror(errno));
    o.hash = XXH3_createState();
    setvbuf(o.file, NULL, _IOFBF, IO_BYTES);
    bool ok = o.hash != NULL;
    if (ok) {
        XXH3_64bits_reset(o.hash);
        ok = get_all(&o, t, lsn);
    }
    fclose(o.file);
    XXH3_freeState(o.hash);
    if (ok) return 0;
    struct tape *empty;
    if (tape__new(&empty, &t->options) == 0) { /* Nothing of a damaged file is believed. */
        struct tape old = *t;
        *t = *empty;
        *empty = old;
        tape__free(empty);
    }
    return err__setf(e, ERR_CORRUPT, "%s is damaged, or of another version", path);
}
