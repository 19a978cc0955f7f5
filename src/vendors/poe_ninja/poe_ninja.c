/* poe_ninja: price overviews, one stream a league and kind.
 *
 * Three endpoints with three shapes: the exchange overview, the item overview and the older
 * currency overview. All answer with an ETag that has no quotes; it is kept and echoed as it came,
 * and 304 means that what we have is current. No rate-limit headers: the governor goes by its own
 * pace, and the gap key keeps one league and type apart from its next time.
 * Source: https://poe.ninja/docs/api, and answers recorded in August 2026.
 *
 * The cursor of a stream is its ETag, or a hash of the body where there is none. */
#include "poe_ninja_internal.h"
#include "souk/tables.h"
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *path;
} overviews[] = {
    [NINJA_EXCHANGE] = {"exchange", "/poe1/api/economy/exchange/current/overview"},
    [NINJA_ITEM] = {"item", "/poe1/api/economy/stash/current/item/overview"},
    [NINJA_CURRENCY] = {"currency", "/poe1/api/economy/stash/current/currency/overview"},
};
enum { N_OVERVIEWS = sizeof overviews / sizeof *overviews };

bool poe_ninja__kind(const char *kind, enum ninja_overview *overview, const char **type) {
    for (unsigned i = 0; i < N_OVERVIEWS; i++) {
        size_t len = strlen(overviews[i].name);
        if (strncmp(kind, overviews[i].name, len) != 0 || kind[len] != '/') continue;
        *overview = (enum ninja_overview)i;
        *type = kind + len + 1;
        return **type != '\0';
    }
    return false;
}

const char *poe_ninja__overview_name(enum ninja_overview overview) {
    return overviews[overview].name;
}

static int list_streams(const struct source_settings *settings, struct stream_spec *out,
                        struct err *e) {
    size_t n = 0;
    if (settings->n_leagues * settings->n_kinds > STREAMS_MAX)
        return err__setf(e, ERR_CONFIG, "poe_ninja: %zu leagues of %zu kinds, at most %d streams",
                         settings->n_leagues, settings->n_kinds, STREAMS_MAX);
    for (size_t l = 0; l < settings->n_leagues; l++) {
        for (size_t k = 0; k < settings->n_kinds; k++) {
            const char *league = settings->leagues[l], *kind = settings->kinds[k], *type;
            enum ninja_overview overview;
            struct stream_spec *s = &out[n++];
            *s = (struct stream_spec){.service = POE_NINJA_NAME, .endpoint = POE_NINJA_NAME};
            if (!poe_ninja__kind(kind, &overview, &type))
                return err__setf(
                    e, ERR_CONFIG,
                    "poe_ninja: kind %s is none of exchange/TYPE, item/TYPE, currency/TYPE", kind);
            if (league[0] == '\0' || strlen(league) >= sizeof s->league ||
                strlen(kind) >= sizeof s->kind)
                return err__setf(e, ERR_CONFIG, "poe_ninja: a league or kind is empty or too long");
            snprintf(s->key, sizeof s->key, "%s/%s", league, kind);
            snprintf(s->league, sizeof s->league, "%s", league);
            snprintf(s->kind, sizeof s->kind, "%s", kind);
            snprintf(s->path, sizeof s->path, "%s", overviews[overview].path);
            for (size_t i = 0; i + 1 < n; i++)
                if (strcmp(out[i].key, s->key) == 0)
                    return err__setf(e, ERR_CONFIG, "poe_ninja: %s is there twice", s->key);
        }
    }
    return (int)n;
}

static void plan(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct source_request *out) {
    enum ninja_overview overview = NINJA_EXCHANGE;
    const char *type = "";
    poe_ninja__kind(stream->kind, &overview, &type);
    *out = (struct source_request){0};
    if (state->last_reply_mono_ns != 0)
        out->not_before_mono_ns = state->last_reply_mono_ns + settings->period_ns;
    snprintf(out->endpoint, sizeof out->endpoint, "%s", stream->endpoint);
    snprintf(out->gap_key, sizeof out->gap_key, "%s/%s", stream->league, type);
    snprintf(out->url, sizeof out->url, "%s%s?league=", settings->base_url, stream->path);
    source__url_append(out->url, sizeof out->url, slice__str(stream->league));
    size_t len = strlen(out->url);
    snprintf(out->url + len, sizeof out->url - len, "&type=");
    source__url_append(out->url, sizeof out->url, slice__str(type));
    if (state->etag[0] != '\0')
        snprintf(out->headers[out->n_headers++], sizeof out->headers[0], "If-None-Match: %s",
                 state->etag);
}

static int judge_body(const struct source_answer *answer, struct page_facts *out, struct err *e) {
    yyjson_doc *doc;
    int code = decode__read(answer->body, &doc, e);
    if (code != 0) return err__prefixf(e, "poe_ninja");
    yyjson_val *lines = yyjson_obj_get(yyjson_doc_get_root(doc), "lines");
    bool is_page = yyjson_is_arr(lines);
    out->n_entries = (uint32_t)yyjson_arr_size(lines);
    yyjson_doc_free(doc);
    if (!is_page) return err__setf(e, ERR_MALFORMED, "poe_ninja: \"lines\" is not an array");
    out->verdict = out->n_entries == 0 ? PAGE_EMPTY : PAGE_NEW;
    return 0;
}

static int judge(const struct stream_spec *stream, const struct stream_state *state,
                 const struct source_answer *answer, struct page_facts *out, struct err *e) {
    (void)stream;
    *out = (struct page_facts){.verdict = PAGE_INVALID};
    source__etag(answer, out->etag);
    if (answer->status == 304) {
        if (state->etag[0] == '\0')
            return err__setf(e, ERR_PROTOCOL, "poe_ninja: 304 to a request without a condition");
        out->verdict = PAGE_UNCHANGED;
        snprintf(out->etag, sizeof out->etag, "%s", state->etag);
        snprintf(out->next_cursor, sizeof out->next_cursor, "%s", state->cursor);
        return 0;
    }
    out->block_page = decode__is_html(answer->body);
    if (answer->status != 200)
        return err__setf(e, ERR_PROTOCOL, "poe_ninja: status %d%s", answer->status,
                         out->block_page ? " with a page for people" : "");
    if (out->block_page)
        return err__setf(e, ERR_MALFORMED, "poe_ninja: a page for people instead of data");
    int code = judge_body(answer, out, e);
    if (code != 0) return code;
    if (out->etag[0] != '\0') snprintf(out->next_cursor, sizeof out->next_cursor, "%s", out->etag);
    else source__body_cursor(answer->body, out->next_cursor);
    return 0;
}

static const struct table_desc *const tables[] = {&table_bronze_poeninja_snapshot,
                                                  &table_bronze_quarantine, NULL};

const struct source_type source_poe_ninja = {
    .name = POE_NINJA_NAME,
    .repeats = true,
    .tables = tables,
    .streams = list_streams,
    .plan = plan,
    .judge = judge,
    .decode = poe_ninja__decode,
};
