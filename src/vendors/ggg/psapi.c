/* psapi: the river of public stashes, one stream a realm.
 *
 * GET /public-stash-tabs[/<realm>]?id=<change id> answers {next_change_id, stashes[]}; a page with
 * stashes means ask on at once, one without means the end of the stream: ask the same id again
 * after a pause. A first id near the head comes from the trade site's change-ids, which names one
 * for pc; a realm that it does not name begins at the oldest page, where no id leads.
 * Source: https://www.pathofexile.com/developer/docs/reference#publicstashes.
 *
 * What can go wrong: a body that is not a page (an error page, {}), a header that names another
 * next id than the body, an id that lies behind ours (refused), and the same id with stashes. */
#include "psapi_internal.h"
#include "souk/quality.h"
#include "souk/tables.h"
#include <stdio.h>
#include <string.h>

int psapi__envelope(yyjson_val *root, struct slice *next_change_id, yyjson_val **stashes,
                    struct err *e) {
    yyjson_val *next = yyjson_obj_get(root, "next_change_id");
    *stashes = yyjson_obj_get(root, "stashes");
    if (!yyjson_is_obj(root)) return err__setf(e, ERR_MALFORMED, "psapi: not an object");
    if (!yyjson_is_str(next) || !source__is_cursor(decode__slice(next)))
        return err__setf(e, ERR_MALFORMED, "psapi: \"next_change_id\" is not a change id");
    if (!yyjson_is_arr(*stashes))
        return err__setf(e, ERR_MALFORMED, "psapi: change %.*s: \"stashes\" is not an array",
                         SLICE_FMT(decode__slice(next)));
    *next_change_id = decode__slice(next);
    return 0;
}

static int list_streams(const struct source_settings *settings, struct stream_spec *out,
                        struct err *e) {
    static const char *const known[] = {"pc", "xbox", "sony"};
    if (settings->n_realms > STREAMS_MAX)
        return err__setf(e, ERR_CONFIG, "psapi: %zu realms, at most %d", settings->n_realms,
                         STREAMS_MAX);
    for (size_t i = 0; i < settings->n_realms; i++) {
        const char *realm = settings->realms[i];
        bool found = false;
        for (size_t k = 0; k < 3; k++) found = found || strcmp(known[k], realm) == 0;
        if (!found)
            return err__setf(e, ERR_CONFIG, "psapi: realm %s is none of pc, xbox, sony", realm);
        for (size_t k = 0; k < i; k++)
            if (strcmp(settings->realms[k], realm) == 0)
                return err__setf(e, ERR_CONFIG, "psapi: realm %s is there twice", realm);
        bool pc = strcmp(realm, "pc") == 0;
        out[i] = (struct stream_spec){.service = PSAPI_NAME};
        snprintf(out[i].key, sizeof out[i].key, "%s", realm);
        snprintf(out[i].realm, sizeof out[i].realm, "%s", realm);
        /* Each realm has a policy of its own; pc must leave the segment out. */
        snprintf(out[i].endpoint, sizeof out[i].endpoint, "psapi%s%s", pc ? "" : "_",
                 pc ? "" : realm);
        snprintf(out[i].path, sizeof out[i].path, "/public-stash-tabs%s%s", pc ? "" : "/",
                 pc ? "" : realm);
    }
    return (int)settings->n_realms;
}

#define NO_HEAD                                                                                    \
    SLICE_LIT("no head") /* Remembered: change-ids was asked and has none for the realm. */

static bool wants_seed(const struct source_settings *settings, const struct stream_state *state) {
    return state->cursor[0] == '\0' && strcmp(settings->start, "head") == 0 &&
           !slice__eq(state->memo, NO_HEAD);
}

static void plan(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct source_request *out) {
    *out = (struct source_request){.seed = wants_seed(settings, state)};
    if (state->caught_up || out->seed)
        out->not_before_mono_ns =
            state->last_reply_mono_ns == 0 ? 0 : state->last_reply_mono_ns + settings->period_ns;
    if (out->seed) { /* Public: the token stays at home. */
        out->class = SOURCE_METADATA;
        snprintf(out->endpoint, sizeof out->endpoint, "trade_data");
        snprintf(out->url, sizeof out->url, "%s/api/trade/data/change-ids", settings->seed_url);
        return;
    }
    snprintf(out->endpoint, sizeof out->endpoint, "%s", stream->endpoint);
    const char *cursor = state->cursor;
    bool from_oldest =
        strcmp(settings->start, "oldest") == 0 || strcmp(settings->start, "head") == 0;
    if (cursor[0] == '\0' && !from_oldest) cursor = settings->start;
    snprintf(out->url, sizeof out->url, "%s%s%s", settings->base_url, stream->path,
             cursor[0] == '\0' ? "" : "?id=");
    source__url_append(out->url, sizeof out->url, slice__str(cursor));
    if (settings->use_oauth) out->scope = "service:psapi";
}

/* Takes the number in front of the next '-' off @s, as digits without leading zeros. */
static bool take_shard(struct slice *s, struct slice *digits) {
    size_t n = 0;
    while (n < s->len && s->base[n] >= '0' && s->base[n] <= '9') n++;
    if (n == 0 || (n < s->len && s->base[n] != '-') || n + 1 == s->len) return false;
    *digits = slice__of(s->base, n);
    while (digits->len > 1 && *digits->base == '0') digits->base++, digits->len--;
    size_t step = n < s->len ? n + 1 : n;
    *s = slice__of(s->base + step, s->len - step);
    return true;
}

/* @return true when @a has as many shards as @b and one of them is lower. Ids that are not numbers
 * joined by '-' are opaque, and a changed count of shards is a fresh start: neither is behind. */
static bool lies_behind(struct slice a, struct slice b) {
    bool lower = false;
    while (a.len > 0 && b.len > 0) {
        struct slice x, y;
        if (!take_shard(&a, &x) || !take_shard(&b, &y)) return false;
        lower = lower || x.len < y.len || (x.len == y.len && memcmp(x.base, y.base, x.len) < 0);
    }
    return lower && a.len == 0 && b.len == 0;
}

static int read_cursor(const char *text, char out[CURSOR_MAX], struct err *e) {
    struct slice rest = slice__str(text), digits;
    bool good = rest.len > 0 && rest.len < CURSOR_MAX;
    while (good && rest.len > 0) good = take_shard(&rest, &digits);
    if (!good)
        return err__setf(e, ERR_CONFIG,
                         "psapi: %.80s is not a change id: numbers joined by '-', as 12-34-56",
                         text);
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static bool has_reached(const char *cursor, const char *until) {
    return cursor[0] != '\0' && !lies_behind(slice__str(cursor), slice__str(until));
}

static int judge_seed(const struct stream_spec *stream, yyjson_val *root, struct page_facts *out,
                      struct err *e) {
    char name[48] = "psapi"; /* Realms other than pc are not documented to be there. */
    bool pc = strcmp(stream->realm, "pc") == 0;
    if (!pc) snprintf(name, sizeof name, "psapi-%s", stream->realm);
    yyjson_val *id = yyjson_obj_get(root, name);
    if (id == NULL && !pc && yyjson_is_str(yyjson_obj_get(root, "psapi"))) {
        out->memo = buf__init(16);
        if (!buf__append_slice(&out->memo, NO_HEAD))
            return err__setf(e, ERR_NOMEM, "psapi: out of memory");
        out->verdict = PAGE_SEEDED;
        return 0;
    }
    if (!yyjson_is_str(id) || !source__is_cursor(decode__slice(id)))
        return err__setf(e, ERR_MALFORMED, "psapi: change-ids: \"%s\" is not a change id", name);
    memcpy(out->next_cursor, unsafe_yyjson_get_str(id), unsafe_yyjson_get_len(id));
    out->verdict = PAGE_SEEDED;
    return 0;
}

static int judge_page(const struct stream_state *state, const struct source_answer *answer,
                      yyjson_val *root, struct page_facts *out, struct err *e) {
    struct slice next, cursor = slice__str(state->cursor);
    yyjson_val *stashes;
    int code = psapi__envelope(root, &next, &stashes, e);
    if (code != 0) return code;
    struct slice header = source__header(answer, SLICE_LIT("x-next-change-id"));
    if (header.len > 0 && !slice__eq(header, next))
        return err__setf(e, ERR_PROTOCOL,
                         "psapi: next change is %.*s in the body, %.*s in the header",
                         SLICE_FMT(next), SLICE_FMT(header));
    out->n_entries = (uint32_t)yyjson_arr_size(stashes);
    if (lies_behind(next, cursor)) {
        out->verdict = PAGE_REWIND;
        return err__setf(e, ERR_PROTOCOL, "psapi: next change %.*s lies behind %s", SLICE_FMT(next),
                         state->cursor);
    }
    memcpy(out->next_cursor, next.base, next.len);
    if (out->n_entries == 0) out->verdict = PAGE_EMPTY;
    else out->verdict = slice__eq(next, cursor) ? PAGE_REPEAT : PAGE_NEW;
    return 0;
}

static int judge(const struct stream_spec *stream, const struct stream_state *state,
                 const struct source_answer *answer, struct page_facts *out, struct err *e) {
    *out = (struct page_facts){.verdict = PAGE_INVALID};
    out->block_page = decode__is_html(answer->body);
    if (answer->status != 200)
        return err__setf(e, ERR_PROTOCOL, "psapi: status %d%s", answer->status,
                         out->block_page ? " with a page for people" : "");
    if (out->block_page)
        return err__setf(e, ERR_MALFORMED, "psapi: a page for people instead of data");
    yyjson_doc *doc;
    int code = decode__read(answer->body, &doc, e);
    if (code != 0) return err__prefixf(e, "psapi");
    yyjson_val *root = yyjson_doc_get_root(doc);
    code =
        answer->seed ? judge_seed(stream, root, out, e) : judge_page(state, answer, root, out, e);
    yyjson_doc_free(doc);
    return code;
}

static const struct table_desc *const tables[] = {
    &table_raw_public_stash_pages, &table_bronze_public_stash, &table_bronze_quarantine, NULL};

const struct source_type source_psapi = {
    .name = PSAPI_NAME,
    .tables = tables,
    .streams = list_streams,
    .plan = plan,
    .judge = judge,
    .decode = psapi__decode,
    .cursor = read_cursor,
    .reached = has_reached,
};
