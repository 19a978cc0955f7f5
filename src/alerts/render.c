/* JSON of alerts, mutes and flags, in the words of alerts.v1 (souk/alerts.h). */
#include "alerts_internal.h"
#include <inttypes.h>
#include <math.h>

static const char *const sev_names[] = {"info", "warning", "critical"};
static const char *const status_names[] = {"firing", "resolved", "expired"};
static const char *const kind_names[KINDS] = {"created", "updated",  "escalated", "acked",
                                              "unacked", "snoozed",  "woke",      "muted",
                                              "unmuted", "resolved", "expired"};

const char *alert_sev__name(enum alert_sev sev) { return sev_names[sev]; }
const char *alert_kind__name(enum alert_kind kind) { return kind_names[kind]; }

static void add_text(struct buf *out, const char *before, const char *text) {
    buf__append_str(out, before);
    buf__json_string(out, slice__str(text));
}

/* JSON has no NaN and no infinity. */
static void add_number(struct buf *out, double v) {
    if (isfinite(v)) buf__printf(out, "%.10g", v);
    else buf__append_str(out, "null");
}

static void add_labels(struct buf *out, const struct label *labels, size_t n) {
    buf__append_str(out, "{");
    for (size_t i = 0; i < n; i++) {
        add_text(out, i > 0 ? "," : "", labels[i].key);
        add_text(out, ":", labels[i].value);
    }
    buf__append_str(out, "}");
}

bool mute__matches(const struct mute *m, const struct incident *i) {
    if (m->class[0] != '\0' && strcmp(m->class, "*") != 0 && strcmp(m->class, i->class) != 0)
        return false;
    for (size_t k = 0; k < m->n_labels; k++) {
        size_t j = 0;
        while (j < i->n_labels && strcmp(i->labels[j].key, m->labels[k].key) != 0) j++;
        if (j == i->n_labels || strcmp(i->labels[j].value, m->labels[k].value) != 0) return false;
    }
    return true;
}

static void add_why(struct buf *out, const struct incident *i) {
    buf__append_str(out, ",\"why\":[");
    for (size_t k = 0; k < i->n_why; k++) {
        add_text(out, k > 0 ? ",{\"k\":" : "{\"k\":", i->why[k].key);
        add_text(out, ",\"op\":", i->why[k].op);
        buf__append_str(out, ",\"thr\":");
        add_number(out, i->why[k].threshold);
        buf__append_str(out, ",\"val\":");
        add_number(out, i->why[k].value);
        buf__append_str(out, "}");
    }
    buf__append_str(out, "],\"stats\":{");
    for (size_t k = 0; k < i->n_stats; k++) {
        add_text(out, "", i->stats[k].key);
        buf__append_str(out, ":");
        add_number(out, i->stats[k].value);
        buf__append_str(out, ",");
    }
    buf__printf(out, "\"stale\":%s}", i->stale ? "true" : "false");
}

static void add_state(const struct alerts *a, struct buf *out, const struct incident *i) {
    if (i->acked) {
        add_text(out, ",\"ack\":{\"by\":", i->ack_by);
        buf__printf(out, ",\"ts\":%" PRId64, i->ack_ms);
        add_text(out, ",\"note\":", i->ack_note);
        buf__append_str(out, "}");
    } else {
        buf__append_str(out, ",\"ack\":null");
    }
    if (i->snooze_until_ms != 0) {
        add_text(out, ",\"snooze\":{\"by\":", i->snooze_by);
        buf__printf(out, ",\"until_ts\":%" PRId64 "}", i->snooze_until_ms);
    } else {
        buf__append_str(out, ",\"snooze\":null");
    }
    buf__append_str(out, ",\"muted_by\":[");
    bool any = false;
    for (const struct mute *m = a->mutes; m != NULL; m = m->next) {
        if (!mute__matches(m, i)) continue;
        add_text(out, any ? "," : "", m->id);
        any = true;
    }
    buf__append_str(out, "]");
    if (i->note_ms != 0) {
        add_text(out, ",\"note\":{\"by\":", i->note_by);
        buf__printf(out, ",\"ts\":%" PRId64, i->note_ms);
        add_text(out, ",\"text\":", i->note);
        buf__append_str(out, "}");
    }
}

void render_alert(const struct alerts *a, const struct incident *i, struct buf *out) {
    add_text(out, "{\"id\":", i->id);
    add_text(out, ",\"fp\":", i->fp);
    buf__printf(out, ",\"ver\":%" PRIu64, i->ver);
    add_text(out, ",\"class\":", i->class);
    buf__printf(out, ",\"sev\":\"%s\",\"status\":\"%s\"", sev_names[i->sev],
                status_names[i->status]);
    add_text(out, ",\"title\":", i->title);
    add_text(out, ",\"body\":", i->body);
    buf__append_str(out, ",\"labels\":");
    add_labels(out, i->labels, i->n_labels);
    buf__printf(out, ",\"count\":%" PRIu64 ",\"first_ts\":%" PRId64 ",\"last_ts\":%" PRId64,
                i->count, i->first_ms, i->last_ms);
    if (i->ttl_ms > 0) buf__printf(out, ",\"expires_ts\":%" PRId64, i->last_ms + i->ttl_ms);
    else buf__append_str(out, ",\"expires_ts\":null");
    add_why(out, i);
    add_state(a, out, i);
    buf__printf(out, ",\"guard\":{\"double_confirm\":%s", i->double_confirm ? "true" : "false");
    add_text(out, ",\"reason\":", i->reason);
    buf__printf(out, "},\"sound\":\"%s\",\"links\":{\"ui\":\"/alerts/%s\"", sev_names[i->sev],
                i->id);
    if (i->runbook[0] != '\0') add_text(out, ",\"runbook\":", i->runbook);
    buf__append_str(out, "}}");
}

void render_mute(const struct mute *m, struct buf *out) {
    add_text(out, "{\"id\":", m->id);
    buf__append_str(out, ",\"match\":{");
    if (m->class[0] != '\0') {
        add_text(out, "\"class\":", m->class);
        buf__append_str(out, ",");
    }
    buf__append_str(out, "\"labels\":");
    add_labels(out, m->labels, m->n_labels);
    buf__printf(out, "},\"ts\":%" PRId64, m->made_ms);
    if (m->until_ms != 0) buf__printf(out, ",\"until_ts\":%" PRId64, m->until_ms);
    else buf__append_str(out, ",\"until_ts\":null");
    add_text(out, ",\"reason\":", m->reason);
    add_text(out, ",\"by\":", m->by);
    buf__append_str(out, "}");
}

void render_flag(const struct flag *f, struct buf *out) {
    add_text(out, "{\"name\":", f->name);
    add_text(out, ",\"value\":true,\"class\":", f->class);
    if (f->auto_resume_ms != 0) buf__printf(out, ",\"auto_resume_at\":%" PRId64, f->auto_resume_ms);
    buf__append_str(out, "}");
}
