/* Recorded bodies as records of a log that never was.
 *
 * A folder holds what souk-sim's --replay takes, and more of the same kind. Files are read in this
 * order of their names, and then by bytes; each may end in .gz or .zst:
 *
 *   psapi/page-*.json           a page {next_change_id, stashes[]}, as it came
 *   psapi/stashes*.json         an array of stashes, put into a page
 *   psapi/stash-quad*.json      one stash, put into a page
 *   psapi/stash-history*.jsonl  a page a line: {"id", "observed_at", "response": a page}
 *   ninja/overview*.json        one overview, or an object of overviews by the name of their kind
 *
 * A file of one body may tell more in its name: psapi/page-REALM@MS@CURSOR.json, where MS is when
 * it was received (ms since 1970) and CURSOR what was asked;
 * ninja/overview-LEAGUE@MS@SHAPE@TYPE.json with SHAPE exchange, item or currency. Without that, the
 * realm is pc, the cursor unknown (''), the league "recorded", and time starts at 2026-01-01 and
 * goes on 3.5 s a body, the pace at which psapi gives out pages. All three shapes of psapi may
 * stand under each of its names.
 *
 * Each body meets the judge of its source, as if it had just come; what it refuses is counted and
 * makes no record. Positions count the records from 1. */
#include "body_file.h"
#include "souk/core/log.h"
#include "souk/decode.h"
#include "souk/journal.h"
#include "souk/replay.h"
#include "souk/tables.h"
#include <stdio.h>
#include <stdlib.h>

#define START_WALL_NS (INT64_C(1767225600) * NS_PER_S) /* 2026-01-01T00:00:00Z */
#define STEP_NS (INT64_C(3500) * NS_PER_MS)

/* What is known of a body besides its bytes. */
struct origin {
    const char *source;
    char stream[128], realm[32], league[64], kind[64], cursor[CURSOR_MAX];
    int64_t wall_ns; /* 0: not known. */
};

struct bodies {
    struct body_files files;
    size_t next_file;
    struct buf text; /* The file. */
    size_t at;       /* In text: the next line. */
    const struct body_file *file;
    yyjson_doc *overviews; /* Of a file of several; owned, with its iterator. */
    yyjson_obj_iter iter;
    struct buf body, payload; /* Of the record. */
    uint64_t n;               /* Records made. */
    uint64_t n_bodies;
};

/* Names. */

static void copy_text(char *out, size_t size, struct slice s) {
    snprintf(out, size, "%.*s", SLICE_FMT(s));
}

/* Cuts what stands in front of the next @sep off *@s; all of it where there is none. */
static struct slice take_until(struct slice *s, char sep) {
    const char *end = s->len == 0 ? NULL : memchr(s->base, sep, s->len);
    struct slice part = end == NULL ? *s : slice__of(s->base, (size_t)(end - s->base));
    size_t step = end == NULL ? s->len : part.len + 1;
    *s = slice__of(s->base + step, s->len - step);
    return part;
}

/* The name without its ending and the words up to the first '-'. */
static struct slice stem_of(const char *name) {
    struct slice s = slice__str(name);
    const char *end = memmem(s.base, s.len, ".json", 5);
    if (end != NULL) s.len = (size_t)(end - s.base);
    const char *dash = s.len == 0 ? NULL : memchr(s.base, '-', s.len);
    if (dash != NULL) s = slice__of(dash + 1, s.len - (size_t)(dash + 1 - s.base));
    return s;
}

static bool is_realm(struct slice s) {
    return slice__eq(s, SLICE_LIT("pc")) || slice__eq(s, SLICE_LIT("xbox")) ||
           slice__eq(s, SLICE_LIT("sony"));
}

static void read_psapi_name(const char *name, struct origin *out) {
    struct slice rest = stem_of(name), realm = take_until(&rest, '@'), ms = take_until(&rest, '@');
    int64_t wall_ms = 0;
    *out = (struct origin){.source = "psapi"};
    copy_text(out->realm, sizeof out->realm, is_realm(realm) ? realm : SLICE_LIT("pc"));
    copy_text(out->stream, sizeof out->stream, slice__str(out->realm));
    if (ms.len > 0 && slice__int64(ms, &wall_ms) && wall_ms > 0 && wall_ms < INT64_MAX / NS_PER_MS)
        out->wall_ns = wall_ms * NS_PER_MS;
    if (out->wall_ns != 0) copy_text(out->cursor, sizeof out->cursor, rest);
}

/* unique-armour: UniqueArmour. */
static void type_of(struct slice name, char *out, size_t size) {
    size_t n = 0;
    bool upper = true;
    for (size_t i = 0; i < name.len && n + 1 < size; i++) {
        char c = name.base[i];
        if (c == '-') upper = true;
        else {
            out[n++] = upper && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
            upper = false;
        }
    }
    out[n] = '\0';
}

static const char *shape_of(yyjson_val *overview) {
    yyjson_val *first = yyjson_arr_get_first(yyjson_obj_get(overview, "lines"));
    if (yyjson_obj_get(overview, "core") != NULL) return "exchange";
    return yyjson_obj_get(first, "currencyTypeName") != NULL ? "currency" : "item";
}

static void name_overview(struct origin *o, struct slice name, yyjson_val *overview) {
    char type[48];
    type_of(name, type, sizeof type);
    *o = (struct origin){.source = "poe_ninja", .league = "recorded"};
    snprintf(o->kind, sizeof o->kind, "%s/%s", shape_of(overview), type);
}

static void read_ninja_name(const char *name, yyjson_val *overview, struct origin *out) {
    struct slice rest = stem_of(name), first = take_until(&rest, '@'), ms = take_until(&rest, '@');
    struct slice shape = take_until(&rest, '@');
    int64_t wall_ms = 0;
    name_overview(out, first, overview);
    if (rest.len == 0 || !slice__int64(ms, &wall_ms) || wall_ms <= 0 ||
        wall_ms >= INT64_MAX / NS_PER_MS)
        return;
    out->wall_ns = wall_ms * NS_PER_MS;
    copy_text(out->league, sizeof out->league, first);
    snprintf(out->kind, sizeof out->kind, "%.*s/%.*s", SLICE_FMT(shape), SLICE_FMT(rest));
}

/* Bodies. */

static void wrap(struct bodies *b, const char *before, struct slice stashes, const char *after) {
    buf__clear(&b->body);
    buf__printf(&b->body, "{\"next_change_id\":\"replay-%llu\",\"stashes\":%s",
                (unsigned long long)b->n_bodies, before);
    buf__append_slice(&b->body, stashes);
    buf__printf(&b->body, "%s}", after);
}

/* A body of psapi as it is, or its stashes in a page. What is not JSON goes on to the judge. */
static void shape_psapi(struct bodies *b, struct slice text) {
    yyjson_doc *doc = NULL;
    struct err e;
    decode__read(text, &doc, &e);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool is_stash = yyjson_is_obj(root) && yyjson_obj_get(root, "stashes") == NULL &&
                    yyjson_obj_get(root, "items") != NULL;
    if (yyjson_is_arr(root)) {
        wrap(b, "", text, "");
    } else if (is_stash) {
        wrap(b, "[", text, "]");
    } else {
        buf__clear(&b->body);
        buf__append_slice(&b->body, text);
    }
    yyjson_doc_free(doc);
}

/* Writes @v as the body. Numbers were read raw, so they stay as they stood. */
static void write_body(struct bodies *b, yyjson_val *v) {
    size_t len = 0;
    char *text = yyjson_val_write(v, 0, &len);
    buf__clear(&b->body);
    if (text == NULL) b->body.failed = true;
    else buf__append(&b->body, text, len);
    free(text);
}

/* A line of a history: its cursor, time and page. */
static void shape_line(struct bodies *b, struct slice line, struct origin *o) {
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)line.base, line.len,
                                       YYJSON_READ_NUMBER_AS_RAW, NULL, NULL);
    yyjson_val *root = yyjson_doc_get_root(doc), *response = yyjson_obj_get(root, "response");
    const char *id = yyjson_get_str(yyjson_obj_get(root, "id"));
    const char *time = yyjson_get_str(yyjson_obj_get(root, "observed_at"));
    if (response != NULL) {
        if (id != NULL) snprintf(o->cursor, sizeof o->cursor, "%s", id);
        if (time != NULL) replay__parse_time(time, &o->wall_ns);
        write_body(b, response);
    } else {
        shape_psapi(b, line);
    }
    yyjson_doc_free(doc);
}

/* Records. */

static void begin_facts(const struct origin *o, const struct bodies *b, struct request_facts *f) {
    int64_t wall_ns =
        o->wall_ns != 0 ? o->wall_ns : START_WALL_NS + (int64_t)(b->n_bodies - 1) * STEP_NS;
    *f = (struct request_facts){.source = slice__str(o->source),
                                .stream = slice__str(o->stream),
                                .service = slice__str(o->source),
                                .realm = slice__str(o->realm),
                                .league = slice__str(o->league),
                                .kind = slice__str(o->kind),
                                .method = SLICE_LIT("GET"),
                                .cursor_from = slice__str(o->cursor),
                                .freshness = PAGE_FRESH,
                                .flags = REQUEST_ADVANCES | REQUEST_CHECKPOINT,
                                .status = SLICE_LIT("ok"),
                                .http_status = 200,
                                .attempts = 1,
                                .requested_wall_ns = wall_ns,
                                .received_wall_ns = wall_ns,
                                .body_bytes = b->body.len,
                                .retry_after_s = -1};
}

/* Has the body judged and makes its record. @return 1, 0 when it was refused, or an error. */
static int make_record(struct replay_feed *feed, struct origin *o, struct spool_record *out,
                       struct err *e) {
    struct bodies *b = feed->self;
    struct request_facts facts;
    struct page_facts page;
    struct stream_spec stream;
    struct stream_state state = {0};
    struct source_answer answer = {.status = 200, .body = buf__slice(&b->body)};
    if (b->body.failed) return err__setf(e, ERR_LIMIT, "%s: a body is too large", b->file->path);
    if (o->stream[0] == '\0') snprintf(o->stream, sizeof o->stream, "%s/%s", o->league, o->kind);
    begin_facts(o, b, &facts);
    journal__stream(&facts, &stream);
    snprintf(state.cursor, sizeof state.cursor, "%s", o->cursor);
    struct err why = {0};
    int code = source__find(o->source)->judge(&stream, &state, &answer, &page, &why);
    if (code != 0 || page.verdict != PAGE_NEW) {
        feed->n_refused++;
        LOG_WARN("replay", "body makes no page", LOG_S("file", b->file->path),
                 LOG_S("err", code != 0 ? why.msg : "empty or a repeat"));
        return 0;
    }
    facts.cursor_to = slice__str(page.next_cursor);
    facts.n_entries = page.n_entries;
    buf__clear(&b->payload);
    journal__encode(&facts, &b->payload);
    if (journal__compress(buf__slice(&b->body), &b->payload) != 0 || b->payload.failed)
        return err__setf(e, ERR_NOMEM, "%s: out of memory", b->file->path);
    b->n++;
    *out = (struct spool_record){.lsn = b->n,
                                 .next_lsn = b->n + 1,
                                 .type = SPOOL_PAGE,
                                 .wall_ns = facts.received_wall_ns,
                                 .payload = buf__slice(&b->payload)};
    return 1;
}

/* Files. */

static int open_file(struct bodies *b, struct err *e) {
    b->file = &b->files.files[b->next_file++];
    b->at = 0;
    int code = body_file__read(b->file->path, &b->text, e);
    if (code != 0 || b->file->kind != BODY_FILE_OVERVIEW) return code;
    yyjson_doc *doc =
        yyjson_read_opts(b->text.base, b->text.len, YYJSON_READ_NUMBER_AS_RAW, NULL, NULL);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool several = yyjson_is_obj(root) && yyjson_obj_get(root, "lines") == NULL;
    if (several && yyjson_obj_iter_init(root, &b->iter)) {
        b->overviews = doc;
        b->at = b->text.len;
    } else {
        yyjson_doc_free(doc);
    }
    return 0;
}

/* The next overview of a file of several. @return false at its end. */
static bool next_overview(struct bodies *b, struct origin *o) {
    yyjson_val *key = yyjson_obj_iter_next(&b->iter);
    if (key == NULL) {
        yyjson_doc_free(b->overviews);
        b->overviews = NULL;
        return false;
    }
    yyjson_val *overview = yyjson_obj_iter_get_val(key);
    b->n_bodies++;
    name_overview(o, slice__of(yyjson_get_str(key), yyjson_get_len(key)), overview);
    write_body(b, overview);
    return true;
}

static void shape_overview(struct bodies *b, struct slice text, struct origin *o) {
    yyjson_doc *doc = NULL;
    struct err e;
    decode__read(text, &doc, &e);
    read_ninja_name(b->file->name, yyjson_doc_get_root(doc), o);
    buf__clear(&b->body);
    buf__append_slice(&b->body, text);
    yyjson_doc_free(doc);
}

/* The next body of the open file. @return false at its end. */
static bool next_body(struct bodies *b, struct origin *o) {
    if (b->overviews != NULL) return next_overview(b, o);
    if (b->file == NULL || b->at >= b->text.len) return false;
    struct slice text = slice__of(b->text.base + b->at, b->text.len - b->at);
    b->n_bodies++;
    if (b->file->kind == BODY_FILE_OVERVIEW) {
        shape_overview(b, text, o);
    } else if (b->file->kind == BODY_FILE_PAGES) {
        text = take_until(&text, '\n');
        read_psapi_name(b->file->name, o);
        shape_line(b, text, o);
    } else {
        read_psapi_name(b->file->name, o);
        shape_psapi(b, text);
    }
    b->at += text.len + 1;
    return true;
}

static int next(struct replay_feed *feed, struct spool_record *out, struct err *e) {
    struct bodies *b = feed->self;
    struct origin o;
    for (int code = 0;;) {
        if (next_body(b, &o)) {
            code = make_record(feed, &o, out, e);
            if (code != 0) return code;
        } else if (b->next_file == b->files.n) {
            return 0;
        } else if ((code = open_file(b, e)) != 0) {
            return code;
        }
    }
}

static void close_feed(struct replay_feed *feed) {
    struct bodies *b = feed->self;
    if (b == NULL) return;
    yyjson_doc_free(b->overviews);
    body_files__fini(&b->files);
    buf__fini(&b->text);
    buf__fini(&b->body);
    buf__fini(&b->payload);
    free(b);
    *feed = (struct replay_feed){0};
}

int replay_feed__bodies(struct replay_feed *out, const char *dir, struct err *e) {
    struct bodies *b = calloc(1, sizeof *b);
    if (b == NULL) return err__setf(e, ERR_NOMEM, "out of memory");
    b->body = buf__init(BODY_FILE_BYTES_MAX);
    b->payload = buf__init(SPOOL_RECORD_MAX);
    int code = body_files__list(&b->files, dir, e);
    if (code != 0) {
        free(b);
        return code;
    }
    *out = (struct replay_feed){
        .name = "bodies", .judged = true, .self = b, .next = next, .close = close_feed};
    return 0;
}
