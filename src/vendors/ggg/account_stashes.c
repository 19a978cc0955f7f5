/* account_stashes: snapshots of the account's own stash, one stream a realm and league.
 *
 * GET {base}/stash[/{realm}]/{league} lists the tabs, and GET .../{id}[/{sub id}] brings one with
 * its items. Folders show what is in them in the list; the tabs for maps and uniques show their
 * parts when they are asked for, and each part is a request of its own.
 * Source: https://www.pathofexile.com/developer/docs/reference#stashes; scope account:stashes;
 * about 30 tabs in 300 s.
 *
 * The happy path: the list, whose time names the snapshot; then tab by tab what the memo holds,
 * as fast as the governor lets it. The cursor is SNAPSHOT/DONE/TABS, as 1786003200/3/12. The memo
 * does not outlive the process: a snapshot that a restart cut off stays as it is, and another
 * begins.
 *
 * What can fail: 403 and a league that is not there are states, looked at again a day later; a tab
 * that is gone since the list is skipped; one that cannot be read three times in a row is skipped
 * too, and is a quarantine row. */
#include "account_internal.h"
#include "souk/tables.h"
#include <inttypes.h>
#include <stdio.h>

#define LIST_ENDPOINT "account_stash_list" /* The list has a policy of its own. */
#define SCOPE "account:stashes"
#define MEMO_MAX ((size_t)1 << 20)
#define TRIES_MAX 3
#define STATE_WAIT_NS (86400 * NS_PER_S)
/* 30 in 300 s, and what the server's counting adds: a full bucket and a second (poe.md 3.3). */
#define TAB_NS (361 * NS_PER_S / 30)

/* A memo: this, then a line for each tab to come, "PARENT ID" with an empty parent for most. */
struct progress {
    int64_t begun_wall_s, begun_mono_ns;
    uint32_t n_done, n_tabs, n_left_out; /* Tabs received, known, and beyond the bound. */
};

static bool read_progress(struct slice memo, struct progress *out, struct slice *lines) {
    *out = (struct progress){0};
    *lines = slice__of(NULL, 0);
    if (memo.len < sizeof *out) return false;
    memcpy(out, memo.base, sizeof *out);
    *lines = slice__of(memo.base + sizeof *out, memo.len - sizeof *out);
    return true;
}

/* Takes the first line off @lines. */
static bool take_tab(struct slice *lines, struct slice *parent, struct slice *id) {
    *parent = *id = slice__of(NULL, 0);
    const char *blank = lines->len == 0 ? NULL : memchr(lines->base, ' ', lines->len);
    const char *end = blank == NULL ? NULL : memchr(lines->base, '\n', lines->len);
    if (end == NULL || end < blank) return false;
    *parent = slice__of(lines->base, (size_t)(blank - lines->base));
    *id = slice__of(blank + 1, (size_t)(end - blank) - 1);
    size_t n = (size_t)(end - lines->base) + 1;
    *lines = slice__of(lines->base + n, lines->len - n);
    return true;
}

static void put_league(char *out, size_t size, const struct source_settings *settings,
                       const struct stream_spec *stream) {
    int n = snprintf(out, size, "%s/stash/", settings->base_url);
    if (n > 0 && (size_t)n < size && strcmp(stream->realm, "pc") != 0)
        snprintf(out + n, size - (size_t)n, "%s/", stream->realm);
    source__url_append(out, size, slice__str(stream->league));
}

static void put_part(char *out, size_t size, struct slice id) {
    size_t len = strlen(out);
    snprintf(out + len, size - len, "/%.*s", SLICE_FMT(id));
}

static int list_streams(const struct source_settings *settings, struct stream_spec *out,
                        struct err *e) {
    size_t n = 0;
    char account[TABLES_HASH_SIZE];
    /* Without a login nobody says whose stash it is: the client stands for its owner. */
    tables__hash(slice__str(settings->account[0] != '\0' ? settings->account : settings->client_id),
                 account);
    if (settings->n_realms * settings->n_leagues > STREAMS_MAX)
        return err__setf(e, ERR_CONFIG, ACCOUNT_NAME ": %zu realms of %zu leagues, at most %d",
                         settings->n_realms, settings->n_leagues, STREAMS_MAX);
    for (size_t r = 0; r < settings->n_realms; r++) {
        for (size_t l = 0; l < settings->n_leagues; l++) {
            const char *realm = settings->realms[r], *league = settings->leagues[l];
            struct stream_spec *s = &out[n++];
            *s = (struct stream_spec){.service = ACCOUNT_NAME, .endpoint = ACCOUNT_NAME};
            if (realm[0] == '\0' || strlen(realm) >= sizeof s->realm || league[0] == '\0' ||
                strlen(league) >= sizeof s->league)
                return err__setf(e, ERR_CONFIG,
                                 ACCOUNT_NAME ": a realm or league is empty or too long");
            snprintf(s->key, sizeof s->key, "%s/%s", realm, league);
            snprintf(s->realm, sizeof s->realm, "%s", realm);
            snprintf(s->league, sizeof s->league, "%s", league);
            snprintf(s->path, sizeof s->path, "/stash");
            snprintf(s->kind, sizeof s->kind, "%s", account); /* For decode: account_hash. */
            for (size_t i = 0; i + 1 < n; i++)
                if (strcmp(out[i].key, s->key) == 0)
                    return err__setf(e, ERR_CONFIG, ACCOUNT_NAME ": %s is there twice", s->key);
        }
    }
    return (int)n;
}

/* "S/D/T". @return false for a cursor that is none. */
static bool read_cursor(const char *cursor, int64_t *begun_s, int64_t *done, int64_t *tabs) {
    const char *a = strchr(cursor, '/'), *b = a == NULL ? NULL : strchr(a + 1, '/');
    return b != NULL && slice__int64(slice__of(cursor, (size_t)(a - cursor)), begun_s) &&
           slice__int64(slice__of(a + 1, (size_t)(b - a) - 1), done) &&
           slice__int64(slice__str(b + 1), tabs) && *begun_s >= 0 &&
           *begun_s < INT64_MAX / NS_PER_S;
}

/* When the next snapshot begins. */
static int64_t list_ns(const struct source_settings *settings, const struct stream_state *state,
                       const struct progress *p, bool has_memo) {
    int64_t begun_s, done, tabs;
    if (state->poked) return 0;
    if (state->unavailable)
        return state->last_reply_mono_ns +
               (settings->period_ns > STATE_WAIT_NS ? settings->period_ns : STATE_WAIT_NS);
    if (has_memo) return p->begun_mono_ns + settings->period_ns;
    if (!read_cursor(state->cursor, &begun_s, &done, &tabs) || done < tabs) return 0;
    int64_t wait_ns = begun_s * NS_PER_S + settings->period_ns - state->now.wall_ns;
    /* More than a period is a clock that was wrong: counted from now, it would never pass. */
    return wait_ns > 0 && wait_ns <= settings->period_ns ? state->now.mono_ns + wait_ns : 0;
}

static void plan(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct source_request *out) {
    struct progress p;
    struct slice lines, parent, id;
    bool has_memo = read_progress(state->memo, &p, &lines);
    /* In the class of tails: on these endpoints nothing else waits for its share. */
    *out = (struct source_request){.scope = SCOPE, .expect_status = 404};
    put_league(out->url, sizeof out->url, settings, stream);
    if (take_tab(&lines, &parent, &id)) {
        snprintf(out->endpoint, sizeof out->endpoint, "%s", stream->endpoint);
        if (parent.len > 0) put_part(out->url, sizeof out->url, parent);
        put_part(out->url, sizeof out->url, id);
    } else {
        snprintf(out->endpoint, sizeof out->endpoint, "%s", LIST_ENDPOINT);
        out->not_before_mono_ns = list_ns(settings, state, &p, has_memo);
    }
}

/* Appends lines of tabs to a memo. */
struct tab_writer {
    struct buf *lines;
    struct progress *p;
};

static bool is_there(const struct buf *lines, struct slice line) {
    return lines->len >= line.len && memmem(lines->base, lines->len, line.base, line.len) != NULL;
}

static void add_tab(void *ctx, struct slice parent, struct slice id) {
    struct tab_writer *w = ctx;
    char line[2 * ACCOUNT_ID_MAX + 4];
    int n = snprintf(line, sizeof line, "\n%.*s %.*s\n", SLICE_FMT(parent), SLICE_FMT(id));
    if (n < 0 || (size_t)n >= sizeof line) return;
    /* The same tab twice would be paid for twice. A line starts behind the end of another. */
    if (w->lines->len > 0 && is_there(w->lines, slice__of(line, (size_t)n))) return;
    if (w->p->n_tabs >= ACCOUNT_TABS_MAX) {
        w->p->n_left_out++;
        return;
    }
    w->p->n_tabs++;
    buf__append(w->lines, line + 1, (size_t)n - 1);
}

static void put_facts(const struct progress *p, struct slice lines, const struct buf *more,
                      struct page_facts *out) {
    out->memo = buf__init(MEMO_MAX);
    buf__append(&out->memo, p, sizeof *p);
    buf__append_slice(&out->memo, lines);
    if (more != NULL) buf__append_slice(&out->memo, buf__slice(more));
    snprintf(out->next_cursor, sizeof out->next_cursor, "%" PRId64 "/%u/%u", p->begun_wall_s,
             p->n_done, p->n_tabs);
    out->verdict = out->memo.failed ? PAGE_INVALID : PAGE_NEW;
    if (out->memo.failed) buf__fini(&out->memo); /* What there is stays as it is. */
}

static int judge_list(const struct stream_state *state, yyjson_val *root, struct page_facts *out,
                      struct err *e) {
    yyjson_val *stashes = yyjson_obj_get(root, "stashes");
    if (!yyjson_is_arr(stashes))
        return err__setf(e, ERR_MALFORMED, ACCOUNT_NAME ": \"stashes\" is not an array");
    struct progress p;
    memset(&p, 0, sizeof p);
    p.begun_wall_s = state->now.wall_ns / NS_PER_S;
    p.begun_mono_ns = state->now.mono_ns;
    /* The empty line in front makes the first tab's line start behind an end, too. */
    struct buf lines = buf__init(MEMO_MAX);
    struct tab_writer w = {.lines = &lines, .p = &p};
    buf__append_str(&lines, "\n");
    account__walk_list(stashes, add_tab, &w);
    struct slice tabs = buf__slice(&lines);
    put_facts(&p, slice__of(tabs.base + 1, tabs.len - 1), NULL, out);
    out->n_entries = p.n_tabs;
    buf__fini(&lines);
    return out->verdict == PAGE_NEW ? 0 : err__setf(e, ERR_NOMEM, ACCOUNT_NAME ": out of memory");
}

/* Goes on behind the first tab of the memo, with the children that it turned out to have. */
static void move_on(const struct stream_state *state, yyjson_val *stash, struct page_facts *out) {
    struct progress p;
    struct slice lines, parent, id;
    struct buf more = buf__init(MEMO_MAX);
    read_progress(state->memo, &p, &lines);
    take_tab(&lines, &parent, &id);
    p.n_done++;
    buf__append_str(&more, "\n");
    struct tab_writer w = {.lines = &more, .p = &p};
    if (stash != NULL && parent.len == 0) account__walk_children(stash, add_tab, &w);
    struct buf tail = buf__init(MEMO_MAX);
    struct slice all = buf__slice(&more);
    buf__append(&tail, all.base + 1, all.len - 1);
    put_facts(&p, lines, &tail, out);
    buf__fini(&more);
    buf__fini(&tail);
}

/* Keeps a few words in place of a tab that there is no body of. */
static void skip_tab(const struct stream_state *state, int status, const char *why,
                     struct page_facts *out) {
    struct progress p;
    struct slice lines, parent, id;
    read_progress(state->memo, &p, &lines);
    take_tab(&lines, &parent, &id);
    move_on(state, NULL, out);
    out->keep = buf__init(1024);
    buf__append_str(&out->keep, "{\"skipped\":{\"id\":");
    buf__json_string(&out->keep, id);
    buf__printf(&out->keep, ",\"status\":%d,\"why\":", status);
    buf__json_string(&out->keep, slice__str(why));
    buf__append_str(&out->keep, "}}");
}

static int judge_tab(yyjson_val *root, struct slice id, struct page_facts *out, struct err *e,
                     const struct stream_state *state) {
    yyjson_val *stash = yyjson_obj_get(root, "stash"), *own = yyjson_obj_get(stash, "id");
    yyjson_val *items = yyjson_obj_get(stash, "items");
    if (!yyjson_is_obj(stash))
        return err__setf(e, ERR_MALFORMED, ACCOUNT_NAME ": \"stash\" is not an object");
    if (!yyjson_is_str(own) || !slice__eq(decode__slice(own), id))
        return err__setf(e, ERR_PROTOCOL, ACCOUNT_NAME ": asked for tab %.*s, got another",
                         SLICE_FMT(id));
    if (!decode__is_absent(items) && !yyjson_is_arr(items))
        return err__setf(e, ERR_MALFORMED, ACCOUNT_NAME ": \"stash.items\" is not an array");
    move_on(state, stash, out);
    out->n_entries = (uint32_t)yyjson_arr_size(items);
    return out->verdict == PAGE_NEW ? 0 : err__setf(e, ERR_NOMEM, ACCOUNT_NAME ": out of memory");
}

static int judge_body(const struct stream_state *state, const struct source_answer *answer,
                      const struct slice *id, struct page_facts *out, struct err *e) {
    yyjson_doc *doc;
    int code = decode__read(answer->body, &doc, e);
    if (code != 0) return err__prefixf(e, ACCOUNT_NAME);
    yyjson_val *root = yyjson_doc_get_root(doc);
    code = id == NULL ? judge_list(state, root, out, e) : judge_tab(root, *id, out, e, state);
    yyjson_doc_free(doc);
    return code;
}

static int judge(const struct stream_spec *stream, const struct stream_state *state,
                 const struct source_answer *answer, struct page_facts *out, struct err *e) {
    struct progress p;
    struct slice lines, parent, id;
    int status = answer->status;
    *out = (struct page_facts){.verdict = PAGE_INVALID};
    read_progress(state->memo, &p, &lines);
    bool is_tab = take_tab(&lines, &parent, &id);
    out->block_page = decode__is_html(answer->body);
    if (status == 200 && !out->block_page) {
        int code = judge_body(state, answer, is_tab ? &id : NULL, out, e);
        if (code == 0 || code == ERR_NOMEM || !is_tab || state->n_failures + 1 < TRIES_MAX)
            return code;
        skip_tab(state, status, e->msg, out);
        return 0;
    }
    bool gone = status == 400 || status == 404 || status == 410 || status == 422;
    if (out->block_page || (status != 403 && !gone))
        return err__setf(e, ERR_PROTOCOL, ACCOUNT_NAME ": status %d%s", status,
                         out->block_page ? " with a page for people" : "");
    if (is_tab && gone) {
        skip_tab(state, status, "it is gone since the list", out);
        return 0;
    }
    if (is_tab) put_facts(&p, slice__of(NULL, 0), NULL, out); /* This snapshot ends here. */
    out->verdict = PAGE_UNAVAILABLE;
    return err__setf(e, ERR_REFUSED,
                     status == 403 ? ACCOUNT_NAME ": %s: the token does not open it (403)"
                                   : ACCOUNT_NAME ": %s: there is no such stash",
                     stream->key);
}

static void note(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct buf *out) {
    struct progress p;
    struct slice lines;
    (void)stream;
    if (!read_progress(state->memo, &p, &lines)) return;
    int64_t need_ns = (int64_t)(p.n_tabs + 1) * TAB_NS;
    buf__printf(out, "snapshot %" PRId64 ": %u of %u tabs", p.begun_wall_s, p.n_done, p.n_tabs);
    if (p.n_left_out > 0)
        buf__printf(out, ", %u more than the %d that one may have", p.n_left_out, ACCOUNT_TABS_MAX);
    if (need_ns > settings->period_ns)
        buf__printf(out,
                    "; at the vendor's pace it takes about %" PRId64
                    " s, longer than period_s: the next begins when it is complete",
                    need_ns / NS_PER_S);
}

static const struct table_desc *const tables[] = {&table_bronze_account_stash_snapshot,
                                                  &table_bronze_quarantine, NULL};

const struct source_type source_account_stashes = {
    .name = ACCOUNT_NAME,
    .judges_errors = true,
    .judges_once = true,
    .tables = tables,
    .streams = list_streams,
    .plan = plan,
    .judge = judge,
    .decode = account__decode,
    .note = note,
};
