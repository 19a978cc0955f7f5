/* The log itself. Which leagues were followed at its start stands in its first CONFIG or CHECKPOINT
 * record, whichever comes first: between the oldest record and that one nothing changed it. */
#include "souk/replay.h"
#include "souk/spool_scan.h"
#include <stdlib.h>

struct spool_feed {
    struct spool_scan *scan;
    char *followed; /* Owned: told as the first record, then NULL. */
    struct buf config;
};

/* Finds the leagues that were followed at the start of @dir. NULL where nothing says so. */
static int find_followed(const char *dir, replay_followed_fn followed, char **out, struct err *e) {
    struct spool_scan *scan = NULL;
    struct spool_record rec;
    struct slice text = {0};
    *out = NULL;
    int code = spool_scan__open(&scan, dir, e);
    if (code != 0) return code;
    bool found = false;
    while (!found && ((code = spool_scan__next(scan, &rec, e)) == 1 || code == ERR_CORRUPT)) {
        if (code == ERR_CORRUPT) continue;
        if (rec.type == SPOOL_CONFIG) break; /* The feed brings it by itself. */
        found = rec.type == SPOOL_CHECKPOINT && followed(rec.payload, &text);
    }
    if (found) *out = slice__dup(text);
    spool_scan__close(scan);
    if (found && *out == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    return code < 0 && code != ERR_CORRUPT ? code : 0;
}

static int next(struct replay_feed *feed, struct spool_record *out, struct err *e) {
    struct spool_feed *f = feed->self;
    if (f->followed == NULL) return spool_scan__next(f->scan, out, e);
    buf__append_str(&f->config, f->followed);
    free(f->followed);
    f->followed = NULL;
    *out = (struct spool_record){.type = SPOOL_CONFIG, .payload = buf__slice(&f->config)};
    return f->config.failed ? err__setf(e, ERR_NOMEM, "out of memory") : 1;
}

static void close_feed(struct replay_feed *feed) {
    struct spool_feed *f = feed->self;
    if (f == NULL) return;
    spool_scan__close(f->scan);
    free(f->followed);
    buf__fini(&f->config);
    free(f);
    *feed = (struct replay_feed){0};
}

int replay_feed__spool(struct replay_feed *out, const char *dir, replay_followed_fn followed,
                       struct err *e) {
    struct spool_feed *f = calloc(1, sizeof *f);
    if (f == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    f->config = buf__init(SPOOL_RECORD_MAX);
    int code = followed == NULL ? 0 : find_followed(dir, followed, &f->followed, e);
    if (code == 0) code = spool_scan__open(&f->scan, dir, e);
    struct spool_scan_info info = {0};
    if (code == 0) spool_scan__info(f->scan, &info);
    if (code == 0 && info.store_id[0] == '\0')
        code = err__setf(e, ERR_NOT_FOUND, "there is no log in %.150s", dir);
    *out = (struct replay_feed){
        .name = "spool", .has_requests = true, .self = f, .next = next, .close = close_feed};
    if (code != 0) close_feed(out);
    return code;
}
