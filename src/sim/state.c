/* See state.h. The file is one line of JSON and is replaced by rename, so that a kill leaves the
 * old one or the new. */
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <yyjson.h>

static void join_leagues(const struct options *o, struct buf *out) {
    for (size_t i = 0; i < o->n_leagues; i++) {
        if (i > 0) buf__addc(out, ',');
        buf__add(out, o->leagues[i].at, o->leagues[i].len);
    }
}

static int write_state(const char *path, const struct options *o, int64_t start_wall_ns,
                       const char *leagues, struct sim_err *e) {
    char next[1100];
    struct buf b = {0};
    FILE *f;
    bool ok;
    snprintf(next, sizeof next, "%s.new", path);
    buf__addf(&b, "{\"seed\":%llu,\"start_wall_ns\":%lld,\"leagues\":", (unsigned long long)o->seed,
              (long long)start_wall_ns);
    buf__add_json(&b, leagues, strlen(leagues));
    buf__adds(&b, "}\n");
    f = fopen(next, "wb");
    ok = f != NULL && fwrite(b.at, 1, b.len, f) == b.len;
    if (f != NULL && fclose(f) != 0) ok = false;
    buf__fini(&b);
    if (!ok || rename(next, path) != 0)
        return sim_err__setf(e, "state %s: %s", path, strerror(errno));
    return 0;
}

static int check_state(yyjson_doc *doc, const char *path, const struct options *o,
                       const char *leagues, int64_t *start_wall_ns, struct sim_err *e) {
    yyjson_val *root = yyjson_doc_get_root(doc);
    const char *had = yyjson_get_str(yyjson_obj_get(root, "leagues"));
    yyjson_val *start = yyjson_obj_get(root, "start_wall_ns"), *seed = yyjson_obj_get(root, "seed");
    if (had == NULL || !yyjson_is_int(start) || !yyjson_is_uint(seed))
        return sim_err__setf(e, "state %s: not a state of souk-sim", path);
    if (yyjson_get_uint(seed) != o->seed || strcmp(had, leagues) != 0)
        return sim_err__setf(e, "state %s: was made with --seed %llu --leagues \"%s\"", path,
                             (unsigned long long)yyjson_get_uint(seed), had);
    *start_wall_ns = yyjson_get_sint(start);
    return 0;
}

int state__open(const char *dir, const struct options *o, int64_t *start_wall_ns,
                struct sim_err *e) {
    char path[1024];
    struct buf leagues = {0};
    yyjson_doc *doc;
    int rc;
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return sim_err__setf(e, "state folder %s: %s", dir, strerror(errno));
    snprintf(path, sizeof path, "%s/sim.json", dir);
    join_leagues(o, &leagues);
    doc = yyjson_read_file(path, 0, NULL, NULL);
    rc = doc != NULL ? check_state(doc, path, o, leagues.at, start_wall_ns, e)
                     : write_state(path, o, *start_wall_ns, leagues.at, e);
    yyjson_doc_free(doc);
    buf__fini(&leagues);
    return rc;
}
