/* The tape on disk, so that a restart does not forget. One file: a head, what is in memory in the
 * order of its age, and an xxh3-64 over all of it. It is read on the machine that wrote it, or one
 * of the same byte order; the head says which. */
#include "souk/core/file.h"
#include "tape_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

/* SUKTAPE3. In 2, whatever stood in a note was a name, and the keys of markets were made of the
 * numbers of names: its markets are skipped. In 1, asks were compared by the text of the note. */
#define MAGIC 0x33455041544b5553ull
#define MAGIC_2 0x32455041544b5553ull
#define NAMES_MAX 65535u
#define IO_BYTES ((size_t)1 << 20)

struct head {
    uint64_t magic, lsn;
    uint32_t item_bytes, stash_bytes, removal_bytes, market_bytes;
    uint64_t n_stashes;
    uint32_t n_names, n_realms, n_removals, n_additions, n_markets, spare;
};

/* A stash in front of its items and its seller: without what leads to others. */
struct kept_stash {
    unsigned char id[TAPE_ID_BYTES];
    uint64_t spare[2];
    uint64_t seller_hash;
    int64_t seen_wall_ns;
    uint32_t n_items;
    uint16_t league;
    uint8_t partial, seller_len;
};
_Static_assert(sizeof(struct kept_stash) == 72, "as it was before, when it was the stash itself");

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

/* The names of a file: the currencies at their numbers, which another build counts otherwise, then
 * the leagues. Free places are "". */
_Static_assert(LEAGUES_MAX <= NAMES_MAX / 2, "the currencies' share is the other half");

static void put_name(struct stream *o, struct slice name) {
    uint16_t len = (uint16_t)name.len;
    put(o, &len, sizeof len);
    put(o, name.base, len);
}

static void put_names(struct stream *o, const struct tape *t) {
    for (uint16_t i = 1; i < currency__count(); i++) put_name(o, currency__id(i));
    for (uint16_t i = 0; i < LEAGUES_MAX; i++)
        put_name(o, t->leagues[i].name == NULL ? SLICE_LIT("") : leagues__name(t, i));
}

static void put_stash(struct stream *o, const struct stash *s) {
    struct kept_stash head = {.seller_hash = s->seller_hash,
                              .seen_wall_ns = s->seen_wall_ns,
                              .n_items = s->n_items,
                              .league = (uint16_t)(currency__count() + s->league),
                              .partial = s->partial,
                              .seller_len = s->seller_len};
    memcpy(head.id, s->id, TAPE_ID_BYTES);
    put(o, &head, sizeof head);
    put(o, s->tail, stash__bytes(s->n_items, s->seller_len) - sizeof *s);
}

static void put_all(struct stream *o, const struct tape *t, uint64_t lsn) {
    const struct head head = {.magic = MAGIC,
                              .lsn = lsn,
                              .item_bytes = sizeof(struct item),
                              .stash_bytes = sizeof(struct kept_stash),
                              .removal_bytes = sizeof(struct removal),
                              .market_bytes = sizeof(struct market),
                              .n_stashes = t->n_stashes,
                              .n_names = currency__count() + LEAGUES_MAX,
                              .n_realms = (uint32_t)t->n_realms,
                              .n_removals = t->recent.n_max,
                              .n_additions = t->recent.n_max,
                              .n_markets = t->markets.n_buckets};
    put(o, &head, sizeof head);
    put_names(o, t);
    put(o, t->realms, t->n_realms * sizeof t->realms[0]);
    for (const struct stash *s = t->oldest; s != NULL; s = s->newer) put_stash(o, s);
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
    struct stream o = {.file = file__stream(beside, O_WRONLY | O_CREAT | O_TRUNC),
                       .hash = XXH3_createState()};
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
    return err__setf(e, ERR_IO, "%s: %s", path, file__strerror(err));
}

/* What a file's numbers mean. A league that no stash is in is not asked for, so it is not kept. */
struct names {
    uint32_t n;
    char (*leagues)[LEAGUE_NAME_MAX + 1];
    uint16_t *currencies; /* Numbers of this build. */
};

static bool get_names(struct stream *o, struct names *names, uint32_t n) {
    *names = (struct names){.n = n,
                            .leagues = calloc(n, sizeof *names->leagues),
                            .currencies = calloc(n, sizeof(uint16_t))};
    if (names->leagues == NULL || names->currencies == NULL) return false;
    for (uint32_t i = 1; i < n; i++) {
        char *text = names->leagues[i];
        uint16_t len;
        if (!get(o, &len, sizeof len) || len > LEAGUE_NAME_MAX || !get(o, text, len)) return false;
        names->currencies[i] = currency__find(slice__of(text, len));
    }
    return true;
}

static void names__fini(struct names *names) {
    free(names->leagues);
    free(names->currencies);
}

static bool get_items(struct stash *s, const struct names *names) {
    for (uint32_t i = 0; i < s->n_items; i++) {
        struct item *item = &stash__items(s)[i];
        if (item->currency >= names->n ||
            (i > 0 && memcmp(item[-1].id, item->id, TAPE_ID_BYTES) >= 0))
            return false;
        item->currency = names->currencies[item->currency];
        if (item->currency != CURRENCY_NONE) continue;
        item->price_e6 = 0; /* As it is read from a page now. */
        item->ask = 0;
    }
    return true;
}

static bool get_stash(struct stream *o, struct tape *t, const struct names *names) {
    struct kept_stash head;
    if (!get(o, &head, sizeof head) || head.n_items > ITEMS_MAX || head.seller_len > SELLER_MAX ||
        head.league >= names->n || stashes__find(t, head.id) != NULL)
        return false;
    struct stash *s = malloc(stash__bytes(head.n_items, head.seller_len));
    if (s == NULL) return false;
    *s = (struct stash){.seller_hash = head.seller_hash,
                        .seen_wall_ns = head.seen_wall_ns,
                        .n_items = head.n_items,
                        .partial = head.partial,
                        .seller_len = head.seller_len};
    memcpy(s->id, head.id, TAPE_ID_BYTES);
    if (get(o, s->tail, stash__bytes(head.n_items, head.seller_len) - sizeof *s) &&
        get_items(s, names)) {
        s->league = leagues__number(t, slice__str(names->leagues[head.league]));
        if (stashes__put(t, s, NULL) == 0) return true;
    }
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
    if (head->n_markets == m->n_buckets && head->magic == MAGIC)
        return get(o, m->slots, markets__bytes(m));
    struct market bucket[4];
    for (uint32_t i = 0; i < head->n_markets; i++)
        if (!get(o, bucket, sizeof bucket)) return false;
    return true;
}

static bool is_ours(uint64_t magic) { return magic == MAGIC || magic == MAGIC_2; }

static bool get_memory(struct stream *o, struct tape *t, const struct head *head,
                       const struct names *names) {
    if (!get(o, t->realms, head->n_realms * sizeof t->realms[0])) return false;
    t->n_realms = head->n_realms;
    for (size_t i = 0; i < t->n_realms; i++)
        if (memchr(t->realms[i].realm, 0, sizeof t->realms[i].realm) == NULL) return false;
    for (uint64_t i = 0; i < head->n_stashes; i++)
        if (!get_stash(o, t, names)) return false;
    if (!get_recent(o, &t->recent, head) || !get_markets(o, &t->markets, head)) return false;
    uint64_t sum = XXH3_64bits_digest(o->hash), said;
    return get(o, &said, sizeof said) && said == sum && fgetc(o->file) == EOF;
}

static bool get_all(struct stream *o, struct tape *t, uint64_t *lsn) {
    struct head head;
    struct names names = {0};
    if (!get(o, &head, sizeof head) || !is_ours(head.magic) ||
        head.item_bytes != sizeof(struct item) || head.stash_bytes != sizeof(struct kept_stash) ||
        head.removal_bytes != sizeof(struct removal) ||
        head.market_bytes != sizeof(struct market) || head.n_names == 0 ||
        head.n_names > NAMES_MAX || head.n_realms > REALMS_MAX)
        return false;
    bool ok = get_names(o, &names, head.n_names) && get_memory(o, t, &head, &names);
    names__fini(&names);
    *lsn = head.lsn;
    return ok;
}

int tape__peek(const char *path, uint64_t *lsn, struct err *e) {
    struct head head;
    FILE *file = file__stream(path, O_RDONLY);
    if (file == NULL) return err__setf(e, ERR_IO, "%s: %s", path, file__strerror(errno));
    bool ok = fread(&head, sizeof head, 1, file) == 1 && is_ours(head.magic);
    fclose(file);
    if (!ok) return err__setf(e, ERR_CORRUPT, "%s is damaged, or of another version", path);
    *lsn = head.lsn;
    return 0;
}

int tape__load(struct tape *t, const char *path, uint64_t *lsn, struct err *e) {
    struct stream o = {.file = file__stream(path, O_RDONLY)};
    if (o.file == NULL) return err__setf(e, ERR_IO, "%s: %s", path, file__strerror(errno));
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
