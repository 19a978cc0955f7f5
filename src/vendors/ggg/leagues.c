/* leagues: which leagues there are, one stream a realm.
 *
 * GET <base>/leagues?type=main&realm=R of the public site answers a bare array, GET
 * <base>/league?realm=R of the OAuth API (scope service:leagues) {leagues[]}; lists of the trade
 * site, {result[]} and arrays of {id, text}, are taken too. The cursor is the time of the last list
 * that was kept and its hash: an unchanged list is kept once a day and no more.
 * Source: https://www.pathofexile.com/developer/docs/reference#leagues, and lists recorded in 2019,
 * 2020 and 2026.
 *
 * What can go wrong: a scope that is not granted or a list that is gone (a state, looked at again
 * after a period), a body that is no list (asked again, slower each time). */
#include "../slow_pace.h"
#include "psapi_refusals.h"
#include "souk/quality.h"
#include "souk/tables.h"
#include <inttypes.h>
#include <stdio.h>

#define LEAGUES_NAME "leagues"
#define KEEP_AGAIN_S INT64_C(86400)
enum {
    LEAGUE_LIST_MAX = 10000,
    TEXT_MAX = 128,
    RULES_BYTES_MAX = 16384,
    PAYLOAD_BYTES_MAX = 65536
};

static int list_streams(const struct source_settings *settings, struct stream_spec *out,
                        struct err *e) {
    static const char *const known[] = {"pc", "xbox", "sony"};
    if (settings->n_realms > STREAMS_MAX)
        return err__setf(e, ERR_CONFIG, LEAGUES_NAME ": %zu realms, at most %d", settings->n_realms,
                         STREAMS_MAX);
    for (size_t i = 0; i < settings->n_realms; i++) {
        const char *realm = settings->realms[i];
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            found = found || strcmp(known[k], realm) == 0;
        for (size_t k = 0; k < i; k++) found = found && strcmp(settings->realms[k], realm) != 0;
        if (!found)
            return err__setf(e, ERR_CONFIG,
                             LEAGUES_NAME ": realm %.32s is there twice or none of pc, xbox, sony",
                             realm);
        out[i] = (struct stream_spec){.service = LEAGUES_NAME, .endpoint = LEAGUES_NAME};
        snprintf(out[i].key, sizeof out[i].key, "%s", realm);
        snprintf(out[i].realm, sizeof out[i].realm, "%s", realm);
        snprintf(out[i].kind, sizeof out[i].kind, "%s", settings->use_oauth ? "oauth" : "public");
        snprintf(out[i].path, sizeof out[i].path, "%s",
                 settings->use_oauth ? "/league" : "/leagues");
    }
    return (int)settings->n_realms;
}

/* Splits <unix time>-<hash>. @return the time, 0 when @cursor is none. */
static int64_t read_cursor(const char *cursor, struct slice *hash) {
    const char *dash = strchr(cursor, '-');
    int64_t kept_s = 0;
    *hash = (struct slice){0};
    if (dash == NULL || !slice__int64(slice__of(cursor, (size_t)(dash - cursor)), &kept_s) ||
        kept_s < 0 || kept_s > INT64_C(1) << 33)
        return 0;
    *hash = slice__str(dash + 1);
    return kept_s;
}

static void plan(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct source_request *out) {
    struct slice hash;
    *out = (struct source_request){.class = SOURCE_METADATA};
    out->not_before_mono_ns =
        slow_pace__due_ns(state, read_cursor(state->cursor, &hash), settings->period_ns);
    snprintf(out->endpoint, sizeof out->endpoint, "%s", stream->endpoint);
    snprintf(out->url, sizeof out->url, "%s%s?%srealm=%s", settings->base_url, stream->path,
             settings->use_oauth ? "" : "type=main&", stream->realm);
    if (settings->use_oauth) out->scope = "service:leagues";
}

/* @return the list in any of its envelopes, or NULL. */
static yyjson_val *find_list(yyjson_val *root) {
    static const char *const envelopes[] = {"leagues", "result"};
    if (yyjson_is_arr(root)) return root;
    for (size_t i = 0; i < sizeof envelopes / sizeof *envelopes; i++) {
        yyjson_val *list = yyjson_obj_get(root, envelopes[i]);
        if (yyjson_is_arr(list)) return list;
    }
    return NULL;
}

static int judge_list(const struct stream_state *state, const struct source_answer *answer,
                      struct page_facts *out, struct err *e) {
    yyjson_doc *doc;
    char hash[TABLES_HASH_SIZE];
    struct slice last;
    int code = decode__read(answer->body, &doc, e);
    if (code != 0) return err__prefixf(e, LEAGUES_NAME);
    yyjson_val *list = find_list(yyjson_doc_get_root(doc));
    out->n_entries = (uint32_t)yyjson_arr_size(list);
    yyjson_doc_free(doc);
    if (list == NULL) return err__setf(e, ERR_MALFORMED, LEAGUES_NAME ": no list of leagues");
    int64_t now_s = state->now.wall_ns / NS_PER_S, kept_s = read_cursor(state->cursor, &last);
    bool same = slice__eq(tables__hash(answer->body, hash), last);
    if (out->n_entries == 0) out->verdict = PAGE_EMPTY;
    else if (same && now_s >= kept_s && now_s < kept_s + KEEP_AGAIN_S)
        out->verdict = PAGE_UNCHANGED;
    else out->verdict = PAGE_NEW;
    if (out->verdict == PAGE_NEW)
        snprintf(out->next_cursor, sizeof out->next_cursor, "%" PRId64 "-%s", now_s, hash);
    return 0;
}

static int judge(const struct stream_spec *stream, const struct stream_state *state,
                 const struct source_answer *answer, struct page_facts *out, struct err *e) {
    *out = (struct page_facts){.verdict = PAGE_INVALID};
    out->block_page = decode__is_html(answer->body);
    bool oauth = strcmp(stream->kind, "oauth") == 0;
    if (answer->status == 403 && oauth && !out->block_page) {
        out->verdict = PAGE_UNAVAILABLE;
        return err__setf(e, ERR_REFUSED, LEAGUES_NAME ": service:leagues is not granted");
    }
    if (answer->status == 404 || answer->status == 410) {
        out->verdict = PAGE_UNAVAILABLE;
        return err__setf(e, ERR_NOT_FOUND, LEAGUES_NAME ": %s is gone, status %d", stream->path,
                         answer->status);
    }
    if (answer->status != 200)
        return err__setf(e, ERR_PROTOCOL, LEAGUES_NAME ": status %d%s", answer->status,
                         out->block_page ? " with a page for people" : "");
    if (out->block_page)
        return err__setf(e, ERR_MALFORMED, LEAGUES_NAME ": a page for people instead of data");
    return judge_list(state, answer, out, e);
}

static bool read_time(yyjson_val *json, const char *name, int64_t *wall_ns,
                      struct decode_fault *f) {
    yyjson_val *v = yyjson_obj_get(json, name);
    struct slice text = {0};
    if (!decode__str(v, name, TEXT_MAX, &text, f)) return false;
    return text.len == 0 || quality__utc(text, wall_ns) ||
           decode__failf(f, DECODE_WRONG_TYPE, v, "%s", name);
}

/* A league is its name; what else cannot be read is not known, and counted in @n_lost. */
static bool read_league(yyjson_val *json, struct league_row *row, struct buf *text,
                        uint32_t *n_lost, struct decode_fault *f) {
    if (!yyjson_is_obj(json)) return decode__failf(f, DECODE_WRONG_TYPE, json, "%s", "");
    yyjson_val *id = yyjson_obj_get(json, "id"), *category = yyjson_obj_get(json, "category"),
               *rules = yyjson_obj_get(json, "rules");
    bool event = false, timed = false;
    if (!decode__need(id, "id", f) || !decode__str(id, "id", TEXT_MAX, &row->league, f))
        return false;
    if (row->league.len == 0) return decode__failf(f, DECODE_MISSING, id, "id");
    if (!decode__str(yyjson_obj_get(json, "realm"), "realm", TEXT_MAX, &row->realm, f))
        decode__lose(f, n_lost);
    if (!read_time(json, "startAt", &row->start_wall_ns, f)) decode__lose(f, n_lost);
    if (!read_time(json, "endAt", &row->end_wall_ns, f)) decode__lose(f, n_lost);
    if (!read_time(json, "registerAt", &row->register_wall_ns, f)) decode__lose(f, n_lost);
    if (!decode__bool(yyjson_obj_get(json, "event"), "event", &event, f)) decode__lose(f, n_lost);
    if (!decode__bool(yyjson_obj_get(json, "timedEvent"), "timedEvent", &timed, f))
        decode__lose(f, n_lost);
    if (!decode__is_absent(category) && !yyjson_is_obj(category) && yyjson_get_len(category) > 0)
        decode__lose(f, n_lost); /* [] is an empty one. */
    if (!decode__str(yyjson_obj_get(category, "id"), "category.id", TEXT_MAX, &row->category, f))
        decode__lose(f, n_lost);
    if (!decode__bool(yyjson_obj_get(category, "current"), "category.current", &row->is_current, f))
        decode__lose(f, n_lost);
    row->is_event = event || timed;
    buf__clear(text);
    bool written = yyjson_is_arr(rules) && decode__write(text, rules, RULES_BYTES_MAX);
    if (!written && text->failed) return false;
    if (!written && !decode__is_absent(rules)) decode__lose(f, n_lost);
    if (!written) {
        buf__clear(text);
        buf__append_str(text, "[]");
    }
    size_t n_rules = text->len;
    if (!decode__write(text, json, n_rules + PAYLOAD_BYTES_MAX))
        return decode__failf(f, DECODE_TOO_LONG, NULL, "%s", "");
    row->rules = slice__of(text->base, n_rules);
    row->payload = slice__of(text->base + n_rules, text->len - n_rules);
    return true;
}

static void walk_leagues(const struct page *page, yyjson_val *list, struct refusals *refusals) {
    size_t i, n;
    yyjson_val *json;
    char hash[TABLES_HASH_SIZE];
    struct slice payload_hash = tables__hash(page->body, hash);
    struct buf text = buf__init(2 * DECODE_BODY_MAX);
    yyjson_arr_foreach(list, i, n, json) {
        if (i >= LEAGUE_LIST_MAX) {
            refusals__over(refusals, n - i);
            break;
        }
        struct decode_fault f = {.kind = DECODE_FINE};
        struct league_row row = {
            .retrieved_wall_ns = page->received_wall_ns,
            .realm = slice__str(page->stream->realm),
            .payload_hash = payload_hash,
            .origin = {.src = LEAGUES_NAME, .lsn = page->lsn, .ord = (uint32_t)i}};
        char at[32];
        snprintf(at, sizeof at, "leagues[%zu]", i);
        if (read_league(json, &row, &text, &refusals->rows->n_fields_lost, &f)) {
            struct batch *b = rows__batch(refusals->rows, &table_bronze_leagues, SLICE_LIT(""));
            if (b != NULL) tables__league_row(b, &row);
        } else if (text.failed) {
            refusals->rows->failed = true;
            refusals->rows->no_memory = refusals->rows->no_memory || text.no_memory;
            break;
        } else {
            refusals__fault(refusals, at, &f, json);
        }
    }
    buf__fini(&text);
}

static int decode_page(const struct page *page, const struct decode_context *context,
                       struct rows *out, struct err *e) {
    (void)context;
    yyjson_doc *doc;
    int code = decode__read(page->body, &doc, e);
    if (code != 0) return err__prefixf(e, LEAGUES_NAME);
    yyjson_val *list = find_list(yyjson_doc_get_root(doc));
    if (list == NULL) {
        code = err__setf(e, ERR_MALFORMED, LEAGUES_NAME ": no list of leagues");
    } else {
        struct refusals refusals;
        refusals__init(&refusals, page, LEAGUES_NAME, table_bronze_leagues.name, out);
        walk_leagues(page, list, &refusals);
        refusals__end(&refusals);
        refusals__fini(&refusals);
        if (refusals__rows_failed(out)) {
            code = rows__no_memory(out) ? ERR_NOMEM : ERR_LIMIT;
            rows__fini(out);
            err__setf(e, code, LEAGUES_NAME ": the rows of one list do not fit");
        }
    }
    yyjson_doc_free(doc);
    return code;
}

static const struct table_desc *const tables[] = {&table_bronze_leagues, &table_bronze_quarantine,
                                                  NULL};

const struct source_type source_leagues = {
    .name = LEAGUES_NAME,
    .judges_errors = true,
    .tables = tables,
    .streams = list_streams,
    .plan = plan,
    .judge = judge,
    .decode = decode_page,
};
