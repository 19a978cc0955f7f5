/*
 * Profile events come as blocks: host_name String, current_time DateTime, thread_id UInt64, type
 * Enum8('increment' = 1, 'gauge' = 2), name String, value, which was UInt64 and became Int64: the
 * column's type says which. (ClickHouse, src/Interpreters/ProfileEventsExt.cpp.)
 */
#include "profile.h"

#include "conn.h"

enum { TYPE_GAUGE = 2 };

bool chn_profile_event__read(const struct chn_block *block, uint64_t row,
                             struct chn_profile_event *e) {
    uint64_t number = 0;
    int64_t type = 0;
    *e = (struct chn_profile_event){.host = {"", 0}};
    if (!chn_view__string(chn_block__find(block, "name"), row, &e->name)) return false;
    const struct chn_view *value = chn_block__find(block, "value");
    if (chn_view__u64(value, row, &number))
        e->value = number > INT64_MAX ? INT64_MAX : (int64_t)number;
    else if (!chn_view__i64(value, row, &e->value)) return false;
    chn_view__string(chn_block__find(block, "host_name"), row, &e->host);
    if (chn_view__u64(chn_block__find(block, "current_time"), row, &number))
        e->time_s = (uint32_t)number;
    chn_view__u64(chn_block__find(block, "thread_id"), row, &e->thread_id);
    chn_view__i64(chn_block__find(block, "type"), row, &type);
    e->is_gauge = type == TYPE_GAUGE;
    return true;
}

void chn_profile_events__tell(struct chn_conn *c, const struct chn_block *block,
                              chn_profile_event_cb cb) {
    const struct chn_link *link = c->link;
    enum chn_state state = c->state;
    struct chn_profile_event event;
    if (cb == NULL) return;
    /* The parser's block outlives what @cb may do, but not the request: after a cancel or a close
     * nobody listens. */
    for (uint64_t row = 0; row < block->n_rows && c->link == link && c->state == state; row++)
        if (chn_profile_event__read(block, row, &event)) cb(c, c->cb_data, &event);
}

static void add(uint64_t *sum, uint64_t more) {
    *sum = *sum > UINT64_MAX - more ? UINT64_MAX : *sum + more;
}

void chn_progress__add(struct chn_progress *sums, const struct chn_progress *more) {
    add(&sums->read_rows, more->read_rows);
    add(&sums->read_bytes, more->read_bytes);
    add(&sums->total_rows, more->total_rows);
    add(&sums->total_bytes, more->total_bytes);
    add(&sums->wrote_rows, more->wrote_rows);
    add(&sums->wrote_bytes, more->wrote_bytes);
    add(&sums->elapsed_ns, more->elapsed_ns);
}
