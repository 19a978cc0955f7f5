/* trade_data: what the trade site says of itself, in one of two ways; the path decides.
 *
 * With {resource} in the path there is a stream for each resource: static, items, stats, leagues
 * and filters now and then, change-ids often. GET answers {"result": [...]}; a resource that has
 * not changed keeps nothing, which an ETag tells, or else the hash of the body, which is the
 * cursor. change-ids answers {"psapi": "<change id>", ...}; its cursor is those heads as text.
 * With {cursor} there is one stream, which walks {"result": [...], "next_cursor": "..."}; no next
 * cursor, or the same, is the end for now. The vendor has no such resource; a gateway may.
 * Source: answers recorded from 2019 to 2026, and what operators of gateways were promised.
 *
 * What can go wrong: the site takes a resource away or shuts us out (404, 410, 403 with a page for
 * people, 444 or a connection closed without an answer). That is PAGE_UNAVAILABLE: listings then
 * come from the tape alone, an alert says so, and TRADE_HOLD_NS later the site is asked again. */
#include "souk/core/clock.h"
#include "souk/tables.h"
#include "trade_data_internal.h"
#include <stdio.h>
#include <string.h>

#define TRADE_HOLD_NS (6 * 3600 * NS_PER_S)
#define AT_END SLICE_LIT("end")
#define NOT_AT_END SLICE_LIT("more")

static bool walks_cursors(const char *path) { return strstr(path, "{cursor}") != NULL; }
static bool is_listings(const struct stream_spec *s) {
    return strcmp(s->kind, TRADE_LISTINGS) == 0;
}
static bool is_heads(const struct stream_spec *s) { return strcmp(s->kind, TRADE_HEADS) == 0; }

/* Writes @path to @out with @value, escaped, where @word stands. @return false when it is too long.
 */
static bool fill_path(const char *path, const char *word, const char *value, char *out,
                      size_t size) {
    const char *at = strstr(path, word);
    int n = at == NULL ? snprintf(out, size, "%s", path)
                       : snprintf(out, size, "%.*s", (int)(at - path), path);
    if (n < 0 || (size_t)n >= size) return false;
    if (at == NULL) return true;
    if (!source__url_append(out, size, slice__str(value))) return false;
    size_t len = strlen(out);
    n = snprintf(out + len, size - len, "%s", at + strlen(word));
    return n >= 0 && (size_t)n < size - len;
}

static int add_stream(const struct source_settings *settings, const char *kind, size_t n,
                      struct stream_spec *out, struct err *e) {
    struct stream_spec *s = &out[n];
    *s = (struct stream_spec){.service = TRADE_DATA_NAME};
    /* psapi asks the vendor's site under this name, too; a gateway has limits of its own. */
    snprintf(s->endpoint, sizeof s->endpoint, "%s",
             walks_cursors(settings->path) ? "trade_gateway" : TRADE_DATA_NAME);
    if (kind[0] == '\0' || strlen(kind) >= sizeof s->kind)
        return err__setf(e, ERR_CONFIG, "trade_data: a resource is empty or too long");
    snprintf(s->key, sizeof s->key, "%s", kind);
    snprintf(s->kind, sizeof s->kind, "%s", kind);
    /* The template's {cursor} stays in the path of the rows: it is one endpoint. */
    if (!fill_path(settings->path, "{resource}", kind, s->path, sizeof s->path))
        return err__setf(e, ERR_CONFIG, "trade_data: the path of %s is too long", kind);
    for (size_t i = 0; i < n; i++)
        if (strcmp(out[i].key, s->key) == 0)
            return err__setf(e, ERR_CONFIG, "trade_data: resource %s is there twice", kind);
    return 0;
}

static int list_streams(const struct source_settings *settings, struct stream_spec *out,
                        struct err *e) {
    if (walks_cursors(settings->path)) {
        int code = add_stream(settings, TRADE_LISTINGS, 0, out, e);
        return code == 0 ? 1 : code;
    }
    if (settings->n_kinds > STREAMS_MAX)
        return err__setf(e, ERR_CONFIG, "trade_data: %zu resources, at most %d", settings->n_kinds,
                         STREAMS_MAX);
    for (size_t i = 0; i < settings->n_kinds; i++) {
        int code = add_stream(settings, settings->kinds[i], i, out, e);
        if (code != 0) return code;
    }
    return (int)settings->n_kinds;
}

/* How long after the last answer it is asked again. */
static int64_t pause_ns(const struct source_settings *settings, const struct stream_spec *stream,
                        const struct stream_state *state) {
    if (state->unavailable) return TRADE_HOLD_NS;
    if (is_heads(stream)) return settings->quick_ns;
    if (!is_listings(stream)) return settings->period_ns;
    /* The end is remembered from the body, as a last page can be new and yet the last. */
    return state->caught_up || slice__eq(state->memo, AT_END) ? settings->quick_ns : 0;
}

static void plan(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct source_request *out) {
    *out = (struct source_request){.class = SOURCE_METADATA, .expect_status = 404};
    if (state->last_reply_mono_ns != 0 && !state->poked)
        out->not_before_mono_ns = state->last_reply_mono_ns + pause_ns(settings, stream, state);
    snprintf(out->endpoint, sizeof out->endpoint, "%s", stream->endpoint);
    snprintf(out->url, sizeof out->url, "%s", settings->base_url);
    size_t at = strlen(out->url);
    fill_path(stream->path, "{cursor}", state->cursor, out->url + at, sizeof out->url - at);
    /* A walked page keeps the hash of its body there. */
    if (state->etag[0] != '\0' && !is_listings(stream))
        snprintf(out->headers[out->n_headers++], sizeof out->headers[0], "If-None-Match: %s",
                 state->etag);
}

yyjson_val *trade_data__result(yyjson_val *root, struct err *e) {
    yyjson_val *list = yyjson_is_arr(root) ? root : yyjson_obj_get(root, "result");
    if (yyjson_is_arr(list)) return list;
    err__setf(e, ERR_MALFORMED, "trade_data: \"result\" is not an array");
    return NULL;
}

yyjson_val *trade_data__entries(yyjson_val *group) {
    static const char *const names[] = {"entries", "filters"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        yyjson_val *list = yyjson_obj_get(group, names[i]);
        if (yyjson_is_arr(list)) return list;
    }
    return NULL;
}

static int judge_resource(const struct stream_state *state, const struct source_answer *answer,
                          yyjson_val *root, struct page_facts *out, struct err *e) {
    yyjson_val *list = trade_data__result(root, e), *group;
    size_t i, n;
    if (list == NULL) return ERR_MALFORMED;
    yyjson_arr_foreach(list, i, n, group) {
        yyjson_val *entries = trade_data__entries(group);
        out->n_entries += entries == NULL ? 1 : (uint32_t)yyjson_arr_size(entries);
    }
    /* An empty list is never what the site offers, so it must not become the last known state. */
    if (out->n_entries == 0)
        return err__setf(e, ERR_MALFORMED, "trade_data: \"result\" is without entries");
    source__etag(answer, out->etag);
    source__body_cursor(answer->body, out->next_cursor);
    out->verdict = strcmp(out->next_cursor, state->cursor) == 0 ? PAGE_UNCHANGED : PAGE_NEW;
    return 0;
}

/* {"psapi": "1-2-3", "other": "4"} becomes psapi=1-2-3,other=4; what is no change id, or does not
 * fit any more, is left out. */
static int judge_heads(const struct stream_state *state, const struct source_answer *answer,
                       yyjson_val *root, struct page_facts *out, struct err *e) {
    size_t i, n, len = 0;
    yyjson_val *key, *value;
    if (!yyjson_is_obj(root))
        return err__setf(e, ERR_MALFORMED, "trade_data: change-ids is not an object");
    yyjson_obj_foreach(root, i, n, key, value) {
        struct slice name = decode__slice(key);
        if (!yyjson_is_str(value) || !source__is_cursor(name) ||
            !source__is_cursor(decode__slice(value)))
            continue;
        size_t more = name.len + decode__slice(value).len + (len > 0 ? 2 : 1);
        if (len + more >= CURSOR_MAX) continue;
        len +=
            (size_t)snprintf(out->next_cursor + len, CURSOR_MAX - len, "%s%.*s=%.*s",
                             len > 0 ? "," : "", SLICE_FMT(name), SLICE_FMT(decode__slice(value)));
        out->n_entries++;
    }
    if (len == 0) return err__setf(e, ERR_MALFORMED, "trade_data: change-ids holds no change id");
    source__etag(answer, out->etag);
    out->verdict = strcmp(out->next_cursor, state->cursor) == 0 ? PAGE_UNCHANGED : PAGE_NEW;
    return 0;
}

static int remember(struct page_facts *out, struct slice word, struct err *e) {
    out->memo = buf__init(16);
    if (buf__append_slice(&out->memo, word)) return 0;
    return err__setf(e, ERR_NOMEM, "trade_data: out of memory");
}

static int judge_listings(const struct stream_state *state, const struct source_answer *answer,
                          yyjson_val *root, struct page_facts *out, struct err *e) {
    yyjson_val *list = trade_data__result(root, e), *next = yyjson_obj_get(root, "next_cursor");
    if (list == NULL) return ERR_MALFORMED;
    if (!decode__is_absent(next) &&
        (!yyjson_is_str(next) || !source__is_cursor(decode__slice(next))))
        return err__setf(e, ERR_MALFORMED, "trade_data: \"next_cursor\" is not a cursor");
    struct slice to = yyjson_is_str(next) ? decode__slice(next) : slice__str(state->cursor);
    bool moves = !slice__eq(to, slice__str(state->cursor));
    char hash[CURSOR_MAX];
    source__body_cursor(answer->body, hash);
    out->n_entries = (uint32_t)yyjson_arr_size(list);
    if (to.len > 0) memcpy(out->next_cursor, to.base, to.len);
    /* The last page may be there without a next one, and may grow: it is kept once for each of its
     * contents, and its hash lies where an ETag would. */
    if (!moves && (out->n_entries == 0 || strcmp(hash, state->etag) == 0)) {
        out->verdict = PAGE_EMPTY;
        return 0;
    }
    out->verdict = PAGE_NEW;
    if (!moves) snprintf(out->etag, sizeof out->etag, "%s", hash);
    return remember(out, moves ? NOT_AT_END : AT_END, e);
}

/* Whether the site does not give this at all; see the top. A connection that was closed without an
 * answer is believed the second time in a row, as networks do that once, too. */
static bool is_gone(const struct stream_state *state, const struct source_answer *answer,
                    bool html) {
    switch (answer->status) {
    case 404:
    case 410:
    case 444: return true;
    case 403: return html || source__header(answer, SLICE_LIT("cf-mitigated")).len > 0;
    case 0: return state->n_failures > 0;
    default: return false;
    }
}

static int judge(const struct stream_spec *stream, const struct stream_state *state,
                 const struct source_answer *answer, struct page_facts *out, struct err *e) {
    *out = (struct page_facts){.verdict = PAGE_INVALID};
    out->block_page = decode__is_html(answer->body);
    if (is_gone(state, answer, out->block_page)) {
        out->verdict = PAGE_UNAVAILABLE;
        return answer->status == 0
                   ? err__setf(e, ERR_UNAVAILABLE, "trade_data: %s: closed without an answer",
                               stream->kind)
                   : err__setf(e, ERR_UNAVAILABLE, "trade_data: %s: status %d%s", stream->kind,
                               answer->status, out->block_page ? " with a page for people" : "");
    }
    if (answer->status != 200)
        return err__setf(e, ERR_PROTOCOL, "trade_data: %s: status %d%s", stream->kind,
                         answer->status, out->block_page ? " with a page for people" : "");
    if (out->block_page)
        return err__setf(e, ERR_MALFORMED, "trade_data: a page for people instead of data");
    yyjson_doc *doc;
    int code = decode__read(answer->body, &doc, e);
    if (code != 0) return err__prefixf(e, "trade_data");
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (is_heads(stream)) code = judge_heads(state, answer, root, out, e);
    else if (is_listings(stream)) code = judge_listings(state, answer, root, out, e);
    else code = judge_resource(state, answer, root, out, e);
    yyjson_doc_free(doc);
    if (code != 0) out->verdict = PAGE_INVALID;
    return code;
}

static const struct table_desc *const tables[] = {&table_bronze_quarantine,
                                                  &table_bronze_trade_metadata, NULL};

const struct source_type source_trade_data = {
    .name = TRADE_DATA_NAME,
    .judges_errors = true,
    .instead = "derived from the tape",
    .tables = tables,
    .streams = list_streams,
    .plan = plan,
    .judge = judge,
    .decode = trade_data__decode,
};
