/* enrichment: what community sites know of the game, off by default. Two streams, one a site:
 *
 *   poedb  GET <base>/<page>: HTML with tables, or with lists of names and their gold costs
 *   wiki   GET <wiki>/api.php?action=cargoquery&tables=<table>: JSON, 500 rows at a time
 *
 * Neither site is ours to lean on, so a stream begins with one request a period (a day): the first
 * page of its list. With each three successes in a row one more request a period is allowed, for
 * the next page of the list or the next 500 rows of a table; a failure takes all of them back and
 * starts again at the first page. The cursor holds how many successes there were in a row (s), how
 * many requests this round has had (d), the page (p) and row (o) to ask for next, and when the last
 * round ended (t), so that a restart does not ask again.
 *
 * judge knows no settings: the list of pages is the stream's path. What is kept has the name of its
 * page as a first line; while the site fails, the last page makes rows again, marked as stale. */
#include "../slow_pace.h"
#include "enrichment_internal.h"
#include "souk/tables.h"
#include <inttypes.h>
#include <stdio.h>

enum { SUCCESSES_A_PAGE = 3, STREAK_MAX = 1000, OFFSET_MAX = 1000000 };

static const char *const site_names[] = {
    [ENRICHMENT_POEDB] = "poedb",
    [ENRICHMENT_WIKI] = "wiki",
};

enum enrichment_site enrichment__site(const char *key) {
    return strcmp(key, site_names[ENRICHMENT_WIKI]) == 0 ? ENRICHMENT_WIKI : ENRICHMENT_POEDB;
}

/* Makes the stream of one site, unless no page is of it. @return 1, 0, or an error. */
static int list_site(const struct source_settings *settings, enum enrichment_site site,
                     struct stream_spec *out, struct err *e) {
    const char *name = site_names[site];
    size_t len = strlen(name), at = 0;
    *out = (struct stream_spec){.service = ENRICHMENT_NAME};
    snprintf(out->key, sizeof out->key, "%s", name);
    snprintf(out->kind, sizeof out->kind, "%s", name);
    snprintf(out->endpoint, sizeof out->endpoint, ENRICHMENT_NAME "%s",
             site == ENRICHMENT_WIKI ? "_wiki" : "");
    if (site == ENRICHMENT_WIKI) out->base_url = settings->other_url;
    for (size_t i = 0; i < settings->n_kinds; i++) {
        const char *page = settings->kinds[i];
        if (strncmp(page, name, len) != 0 || page[len] != '/') continue;
        page += len + 1;
        if (page[0] == '\0' || strpbrk(page, ",/?#&\n ") != NULL ||
            (site == ENRICHMENT_WIKI && strcmp(page, "mods") != 0))
            return err__setf(e, ERR_CONFIG,
                             ENRICHMENT_NAME ": page %s/%.40s is not known (expected wiki/mods, or "
                                             "poedb/ and a page's name)",
                             name, page);
        int n = snprintf(out->path + at, sizeof out->path - at, "%c%s", at == 0 ? '/' : ',', page);
        if (n < 0 || (size_t)n >= sizeof out->path - at)
            return err__setf(e, ERR_CONFIG, ENRICHMENT_NAME ": too many pages of %s", name);
        at += (size_t)n;
    }
    return at > 0;
}

static int list_streams(const struct source_settings *settings, struct stream_spec *out,
                        struct err *e) {
    int n = 0;
    for (size_t i = 0; i < settings->n_kinds; i++)
        if (strncmp(settings->kinds[i], "poedb/", 6) != 0 &&
            strncmp(settings->kinds[i], "wiki/", 5) != 0)
            return err__setf(e, ERR_CONFIG, ENRICHMENT_NAME ": page %.40s is of no known site",
                             settings->kinds[i]);
    for (enum enrichment_site site = ENRICHMENT_POEDB; site <= ENRICHMENT_WIKI; site++) {
        int code = list_site(settings, site, &out[n], e);
        if (code < 0) return code;
        n += code;
    }
    return n;
}

/* @return the page number @i of the stream, or an empty slice. */
static struct slice page_name(const struct stream_spec *stream, uint32_t i) {
    const char *at = stream->path[0] == '/' ? stream->path + 1 : stream->path;
    for (; i > 0 && at != NULL; i--) {
        at = strchr(at, ',');
        if (at != NULL) at++;
    }
    return at == NULL ? (struct slice){0} : slice__of(at, strcspn(at, ","));
}

struct place {
    uint32_t streak; /* Successes in a row. */
    uint32_t done;   /* Requests of this round. */
    uint32_t page, offset;
    int64_t ended_s; /* The last round; unix time, 0: none yet. */
};

/* Where the stream stands: at the start again while it fails, and when its list has changed. */
static struct place read_place(const struct stream_spec *stream, const struct stream_state *state) {
    struct place p = {0};
    bool whole =
        sscanf(state->cursor, "s%" SCNu32 ".d%" SCNu32 ".p%" SCNu32 ".o%" SCNu32 ".t%" SCNd64,
               &p.streak, &p.done, &p.page, &p.offset, &p.ended_s) == 5;
    bool sound = whole && p.streak <= STREAK_MAX && p.offset <= OFFSET_MAX && p.ended_s >= 0 &&
                 p.ended_s <= INT64_C(1) << 33;
    if (!sound) return (struct place){0};
    if (state->n_failures > 0) p.streak = 0;
    if (state->n_failures > 0 || page_name(stream, p.page).len == 0) p.done = p.page = p.offset = 0;
    return p;
}

static void plan(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct source_request *out) {
    struct place p = read_place(stream, state);
    struct slice name = page_name(stream, p.page);
    *out = (struct source_request){.class = SOURCE_METADATA};
    if (p.done == 0 || state->n_failures > 0)
        out->not_before_mono_ns = slow_pace__due_ns(state, p.ended_s, settings->period_ns);
    snprintf(out->endpoint, sizeof out->endpoint, "%s", stream->endpoint);
    if (enrichment__site(stream->key) == ENRICHMENT_POEDB) {
        snprintf(out->url, sizeof out->url, "%s/", settings->base_url);
        source__url_append(out->url, sizeof out->url, name);
        return;
    }
    snprintf(out->url, sizeof out->url,
             "%s/api.php?action=cargoquery&format=json&tables=mods&fields=mods.id%%3Did,"
             "mods.name%%3Dname,mods.stat_text%%3Dstat_text,mods.mod_groups%%3Dmod_groups,"
             "mods.domain%%3Ddomain,mods.generation_type%%3Dgeneration_type,"
             "mods.required_level%%3Drequired_level&order_by=mods.id&limit=%d&offset=%" PRIu32,
             settings->other_url, ENRICHMENT_CHUNK, p.offset);
}

/* Where a success with @n_rows at @p leads to. */
static struct place next_place(const struct stream_spec *stream, struct place p, uint32_t n_rows,
                               int64_t now_s) {
    bool more = enrichment__site(stream->key) == ENRICHMENT_WIKI && n_rows >= ENRICHMENT_CHUNK &&
                p.offset + ENRICHMENT_CHUNK <= OFFSET_MAX;
    if (p.streak < STREAK_MAX) p.streak++;
    p.done++;
    p.offset = more ? p.offset + ENRICHMENT_CHUNK : 0;
    if (!more) p.page++;
    if (p.done >= 1 + p.streak / SUCCESSES_A_PAGE || page_name(stream, p.page).len == 0) {
        p.done = p.page = p.offset = 0;
        p.ended_s = now_s;
    }
    return p;
}

static int judge(const struct stream_spec *stream, const struct stream_state *state,
                 const struct source_answer *answer, struct page_facts *out, struct err *e) {
    *out = (struct page_facts){.verdict = PAGE_INVALID};
    enum enrichment_site site = enrichment__site(stream->key);
    bool html = decode__is_html(answer->body);
    out->block_page = html && (site == ENRICHMENT_WIKI || answer->status != 200);
    if (answer->status != 200)
        return err__setf(e, ERR_PROTOCOL, ENRICHMENT_NAME ": %s: status %d%s", stream->key,
                         answer->status, html ? " with a page for people" : "");
    int code = enrichment__count(site, answer->body, &out->n_entries, e);
    if (code != 0) return err__prefixf(e, ENRICHMENT_NAME ": %s", stream->key);
    struct place p = read_place(stream, state);
    struct slice name = page_name(stream, p.page);
    /* The end of a table whose last chunk was full. */
    if (out->n_entries == 0 && p.offset == 0)
        return err__setf(e, ERR_MALFORMED, ENRICHMENT_NAME ": %s: %.*s has no rows", stream->key,
                         SLICE_FMT(name));
    out->keep = buf__init(DECODE_BODY_MAX + 256);
    buf__printf(&out->keep, "%.*s\n", SLICE_FMT(name));
    buf__append_slice(&out->keep, answer->body);
    if (out->keep.failed)
        return err__setf(e, ERR_NOMEM, ENRICHMENT_NAME ": %s: no memory for a page", stream->key);
    p = next_place(stream, p, out->n_entries, state->now.wall_ns / NS_PER_S);
    snprintf(out->next_cursor, sizeof out->next_cursor,
             "s%" PRIu32 ".d%" PRIu32 ".p%" PRIu32 ".o%" PRIu32 ".t%" PRId64, p.streak, p.done,
             p.page, p.offset, p.ended_s);
    out->verdict = PAGE_NEW;
    return 0;
}

static void note(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct buf *out) {
    (void)settings;
    struct place p = read_place(stream, state);
    uint32_t n = 1 + p.streak / SUCCESSES_A_PAGE;
    buf__printf(out, "%" PRIu32 " success%s in a row: up to %" PRIu32 " request%s a round",
                p.streak, p.streak == 1 ? "" : "es", n, n == 1 ? "" : "s");
}

static const struct table_desc *const tables[] = {&table_bronze_enrichment,
                                                  &table_bronze_quarantine, NULL};

const struct source_type source_enrichment = {
    .name = ENRICHMENT_NAME,
    .repeats = true,
    .judges_errors = true,
    .judges_once = true,
    .tables = tables,
    .streams = list_streams,
    .plan = plan,
    .judge = judge,
    .decode = enrichment__decode,
    .note = note,
};
