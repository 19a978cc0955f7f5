/* Snapshots: the state at one offset, cut into frames of at most 64 KiB. Built once per offset for
 * everybody without a filter. */
#include "session.h"
#include "session_internal.h"
#include <inttypes.h>
#include <stdlib.h>

struct build {
    struct snapshot *snap;
    const struct session *filter; /* NULL: everything. */
    struct buf chunk;
    size_t n_chunks, n_total;
    bool counting, failed; /* No memory: the snapshot is not whole. */
};

static void add_frame(struct build *b) {
    struct snapshot *snap = b->snap;
    if (snap->n == snap->cap) {
        size_t cap = snap->cap * 2 + 8;
        struct frame **grown = realloc(snap->frames, cap * sizeof *grown);
        b->failed = b->failed || grown == NULL;
        if (grown == NULL) return;
        snap->frames = grown;
        snap->cap = cap;
    }
    struct frame *f = b->chunk.failed ? NULL : frame__new(FRAME_TEXT, buf__slice(&b->chunk));
    b->failed = b->failed || f == NULL;
    if (f != NULL) snap->frames[snap->n++] = f;
    buf__clear(&b->chunk);
}

static void end_chunk(struct build *b) {
    if (b->chunk.len == 0) return;
    buf__append_str(&b->chunk, "]}");
    add_frame(b);
    b->n_chunks++;
}

static void add_alert(void *ctx, const struct alert_view *view) {
    struct build *b = ctx;
    if (b->filter != NULL && !session__wants(b->filter, view->sev, view->class)) return;
    b->n_total++;
    if (b->counting) return;
    if (b->chunk.len + view->json.len > SNAPSHOT_CHUNK_MAX) end_chunk(b);
    if (b->chunk.len == 0)
        buf__printf(&b->chunk, "{\"t\":\"snap\",\"i\":%zu,\"alerts\":[", b->n_chunks);
    else buf__append_str(&b->chunk, ",");
    buf__append_slice(&b->chunk, view->json);
}

struct snapshot *snapshot__build(struct alerts *alerts, const struct session *filter) {
    struct snapshot *snap = calloc(1, sizeof *snap);
    if (snap == NULL) return NULL;
    *snap = (struct snapshot){.refs = 1, .off = alerts__top(alerts)};
    struct build b = {
        .snap = snap, .filter = filter, .chunk = buf__init(1 << 20), .counting = true};
    alerts__each(alerts, false, add_alert, &b);
    buf__printf(&b.chunk,
                "{\"t\":\"snap_begin\",\"epoch\":\"%s\",\"off\":%" PRIu64 ",\"total\":%zu,",
                alerts__epoch(alerts), snap->off, b.n_total);
    alerts__switches(alerts, &b.chunk);
    buf__append_str(&b.chunk, "}");
    add_frame(&b);
    b.counting = false;
    alerts__each(alerts, false, add_alert, &b);
    end_chunk(&b);
    buf__printf(&b.chunk, "{\"t\":\"snap_end\",\"off\":%" PRIu64 "}", snap->off);
    add_frame(&b);
    buf__fini(&b.chunk);
    if (!b.failed) return snap;
    snapshot__unref(snap);
    return NULL;
}

void snapshot__unref(struct snapshot *snap) {
    if (snap == NULL || --snap->refs > 0) return;
    for (size_t i = 0; i < snap->n; i++) frame__unref(snap->frames[i]);
    free(snap->frames);
    free(snap);
}
