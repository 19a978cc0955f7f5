/* currency_exchange: the hourly digests of the in-game currency exchange, one stream a realm.
 *
 * GET <base>/currency-exchange[/<realm>]/<hour> answers {next_change_id, markets[]}, on the CDN
 * without a token and without rate-limit headers, in the OAuth API with the scope service:cxapi.
 * A digest is published some minutes after its hour and never changes. The cursor is the last hour
 * that was kept; the next one is asked for by its number, first quick_ns after it is over and then
 * every quick_ns until it is there. While the stream is behind it asks on at once.
 * Source: https://www.pathofexile.com/developer/docs/reference#currencyexchange.
 *
 * An hour without markets is never kept: 404 or 200, it is not there. When it ended less than two
 * hours ago, by our clock and by those of the servers that answer, it is late. Else the hours
 * behind it are asked for, and the first that is there is kept with a cursor that jumps over the
 * missing ones, which decode turns into rows of bronze_exchange_gaps. When a day of hours is
 * missing, they are gaps without such a witness. When the hours end before that, upstream does not
 * publish, and the search starts again later. A gap is not asked for again by the stream:
 * v_exchange_gaps says what a backfill should ask for.
 *
 * What else can go wrong: digests of an earlier hour (refused), of the hour in progress (refused),
 * 503 and 400 to 499 of the CDN (five minutes of rest), a scope that is not granted (a state). */
#include "currency_exchange_internal.h"
#include "souk/quality.h"
#include "souk/tables.h"
#include <stdio.h>
#include <time.h>

#define REST_NS (300 * NS_PER_S)       /* After a refusal of the CDN. */
#define SEARCH_GAP_NS (900 * NS_PER_S) /* Between two searches for a later hour. */
#define CLOCK_SLACK_S 60               /* What the upstream's clock may be ahead of ours. */

bool exchange__hour(struct slice text, int64_t *hour) {
    for (size_t i = 0; i < text.len; i++)
        if (text.base[i] < '0' || text.base[i] > '9') return false;
    return slice__int64(text, hour) && *hour > 0 && *hour <= EXCHANGE_HOUR_MAX &&
           *hour % EXCHANGE_HOUR_S == 0;
}

int64_t exchange__last_complete(int64_t wall_ns) {
    int64_t s = wall_ns / NS_PER_S;
    return s - s % EXCHANGE_HOUR_S - EXCHANGE_HOUR_S;
}

bool exchange__is_old(int64_t hour, int64_t wall_ns) {
    return wall_ns / NS_PER_S > hour + EXCHANGE_HOUR_S + EXCHANGE_LATE_MAX_S;
}

bool exchange__path(char *out, size_t size, const char *realm, int64_t hour) {
    size_t at = strlen(out);
    bool pc = strcmp(realm, "pc") == 0; /* Has no segment. */
    int n = snprintf(out + at, size - at, "/currency-exchange%s%s", pc ? "" : "/", pc ? "" : realm);
    if (n < 0 || (size_t)n >= size - at) return false;
    if (hour == 0) return true;
    at += (size_t)n;
    n = snprintf(out + at, size - at, "/%lld", (long long)hour);
    return n > 0 && (size_t)n < size - at;
}

int exchange__cursor(const char *text, char out[CURSOR_MAX], struct err *e) {
    int64_t hour, wall_ns;
    char whole[24];
    /* Without seconds, as the note says it. */
    if (strlen(text) == sizeof "2026-11-20T13:00Z" - 1 && text[16] == 'Z') {
        snprintf(whole, sizeof whole, "%.16s:00Z", text);
        text = whole;
    }
    if (!exchange__hour(slice__str(text), &hour)) {
        if (!quality__utc(slice__str(text), &wall_ns) || wall_ns < 2 * EXCHANGE_HOUR_S * NS_PER_S)
            return err__setf(e, ERR_CONFIG,
                             "\"%.40s\" is no hour of " EXCHANGE_NAME
                             " (expected a unix time that 3600 divides, as 1786003200, or a time, "
                             "as 2026-11-20T13:00:00Z)",
                             text);
        hour = exchange__last_complete(wall_ns);
    }
    snprintf(out, CURSOR_MAX, "%lld", (long long)hour);
    return 0;
}

bool exchange__reached(const char *cursor, const char *until) {
    int64_t a, b;
    return exchange__hour(slice__str(cursor), &a) && exchange__hour(slice__str(until), &b) &&
           a >= b;
}

static bool is_oauth(const struct stream_spec *stream) {
    return strncmp(stream->kind, "oauth/", 6) == 0;
}

/* What the stream was told to start at. judge sees no settings, so it is part of the kind. */
static const char *start_of(const struct stream_spec *stream) {
    const char *slash = strchr(stream->kind, '/');
    return slash == NULL ? "latest" : slash + 1;
}

static int list_streams(const struct source_settings *settings, struct stream_spec *out,
                        struct err *e) {
    static const char *const known[] = {"pc", "xbox", "sony", "poe2"};
    const char *form = settings->use_oauth ? "oauth" : "cdn", *start = settings->start;
    int64_t hour;
    if (strcmp(start, "latest") != 0 && strcmp(start, "oldest") != 0 &&
        !exchange__hour(slice__str(start), &hour))
        return err__setf(e, ERR_CONFIG, EXCHANGE_NAME ": start %.40s is no hour", start);
    if (settings->n_realms > STREAMS_MAX)
        return err__setf(e, ERR_CONFIG, EXCHANGE_NAME ": %zu realms, at most %d",
                         settings->n_realms, STREAMS_MAX);
    for (size_t i = 0; i < settings->n_realms; i++) {
        const char *realm = settings->realms[i];
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            found = found || strcmp(known[k], realm) == 0;
        if (!found)
            return err__setf(e, ERR_CONFIG,
                             EXCHANGE_NAME ": realm %.32s is none of pc, xbox, sony, poe2", realm);
        for (size_t k = 0; k < i; k++)
            if (strcmp(settings->realms[k], realm) == 0)
                return err__setf(e, ERR_CONFIG, EXCHANGE_NAME ": realm %s is there twice", realm);
        out[i] = (struct stream_spec){.service = EXCHANGE_NAME};
        snprintf(out[i].key, sizeof out[i].key, "%s", realm);
        snprintf(out[i].realm, sizeof out[i].realm, "%s", realm);
        snprintf(out[i].kind, sizeof out[i].kind, "%s/%s", form, start);
        exchange__path(out[i].path, sizeof out[i].path, realm, 0);
        /* The API has a policy for each realm; the CDN is one host with one pace. */
        bool own = settings->use_oauth && strcmp(realm, "pc") != 0;
        snprintf(out[i].endpoint, sizeof out[i].endpoint, EXCHANGE_NAME "%s%s", own ? "_" : "",
                 own ? realm : "");
    }
    return (int)settings->n_realms;
}

/* What judge remembers of the last answer. */
struct memo {
    int skip;      /* Hours in a row that were not there, before the one to ask for now. */
    bool searched; /* The last of them was recent: nothing is published. */
    bool rest;     /* Upstream wants to be left alone. */
};

static struct memo read_memo(struct slice text) {
    struct memo m = {0};
    if (text.len != 4) return m;
    m.skip = (text.base[0] - '0') * 10 + text.base[1] - '0';
    m.searched = text.base[2] == 's';
    m.rest = text.base[3] == 'r';
    return m;
}

static void write_memo(struct page_facts *out, struct memo m) {
    out->memo = buf__init(16);
    buf__printf(&out->memo, "%02d%c%c", m.skip, m.searched ? 's' : '-', m.rest ? 'r' : '-');
}

/* @return the hour behind the last one kept, or the one to start at. When neither is known, *known
 * is false, and the hour is 0 for the upstream's first, else the last one over at @wall_ns. */
static int64_t first_missing(const struct stream_spec *stream, const struct stream_state *state,
                             int64_t wall_ns, bool *known) {
    int64_t hour;
    *known = true;
    if (exchange__hour(slice__str(state->cursor), &hour)) return hour + EXCHANGE_HOUR_S;
    if (exchange__hour(slice__str(start_of(stream)), &hour)) return hour;
    *known = false;
    return strcmp(start_of(stream), "oldest") == 0 ? 0 : exchange__last_complete(wall_ns);
}

/* Which hours are over. Our clock may be ahead: an hour that no upstream can have yet would be
 * taken for missing, and never be asked for again. */
static int64_t now_of(const struct stream_state *state) {
    bool earlier = state->cautious_wall_ns != 0 && state->cautious_wall_ns < state->now.wall_ns;
    return earlier ? state->cautious_wall_ns : state->now.wall_ns;
}

static void plan(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct source_request *out) {
    struct memo memo = read_memo(state->memo);
    bool known;
    int64_t now_ns = now_of(state);
    /* A start at the latest is one at the latest that should be there, not the one to come. */
    int64_t hour = first_missing(stream, state, now_ns - settings->quick_ns, &known);
    if (known) hour += memo.skip * EXCHANGE_HOUR_S;
    /* The CDN knows no tokens: its 403 is no second try with a wrong one, and judge rests. */
    *out = (struct source_request){.expect_status = 404, .expect_4xx = !settings->use_oauth};
    snprintf(out->endpoint, sizeof out->endpoint, "%s", stream->endpoint);
    snprintf(out->url, sizeof out->url, "%s", settings->base_url);
    exchange__path(out->url, sizeof out->url, stream->realm, hour);
    if (settings->use_oauth) out->scope = "service:cxapi";
    if (hour == 0 || exchange__is_old(hour, now_ns)) out->class = SOURCE_BACKFILL;

    int64_t wait_ns = 0; /* Until the hour may be there. */
    int64_t over_ns = (hour + EXCHANGE_HOUR_S) * NS_PER_S;
    if (hour != 0 && !(state->poked && now_ns >= over_ns)) {
        wait_ns = over_ns + settings->quick_ns - now_ns;
        /* The wall clock may be set while this waits: look at it again within the hour. */
        int64_t max_ns = EXCHANGE_HOUR_S * NS_PER_S + settings->quick_ns;
        if (wait_ns > max_ns) wait_ns = max_ns;
    }
    if (wait_ns > 0) out->not_before_mono_ns = state->now.mono_ns + wait_ns;
    if (state->poked || state->last_reply_mono_ns == 0) return;
    int64_t again_ns = 0; /* Since the last answer. */
    if (state->n_failures > 0) again_ns = memo.rest ? REST_NS : 0;
    else if (state->unavailable) again_ns = settings->period_ns;
    else if (state->caught_up && memo.searched) again_ns = SEARCH_GAP_NS;
    else if (state->caught_up && memo.skip == 0) again_ns = settings->quick_ns;
    if (again_ns > 0 && state->last_reply_mono_ns + again_ns > out->not_before_mono_ns)
        out->not_before_mono_ns = state->last_reply_mono_ns + again_ns;
}

/* @asked has no digest. */
static int judge_missing(const struct stream_state *state, struct memo memo, int64_t asked,
                         bool known, struct page_facts *out) {
    out->verdict = PAGE_EMPTY;
    if (!known || !exchange__is_old(asked, now_of(state))) {
        write_memo(out, (struct memo){.searched = memo.skip > 0});
    } else if (memo.skip + 1 < EXCHANGE_SKIP_MAX) {
        write_memo(out, (struct memo){.skip = memo.skip + 1});
    } else { /* A whole day: there is no witness, and nothing to wait for. */
        out->verdict = PAGE_NEW;
        snprintf(out->next_cursor, sizeof out->next_cursor, "%lld", (long long)asked);
        out->keep = buf__init(128);
        buf__printf(&out->keep, "{\"next_change_id\":%lld,\"markets\":[]}",
                    (long long)(asked + EXCHANGE_HOUR_S));
        write_memo(out, (struct memo){0});
    }
    return out->keep.failed || out->memo.failed ? ERR_NOMEM : 0;
}

static int judge_digest(const struct stream_spec *stream, const struct stream_state *state,
                        int status, yyjson_val *root, struct page_facts *out, struct err *e) {
    struct memo memo = read_memo(state->memo);
    int64_t next, kept = 0;
    bool known;
    int64_t asked = first_missing(stream, state, now_of(state), &known);
    if (known) asked += memo.skip * EXCHANGE_HOUR_S;
    yyjson_val *markets;
    int code = exchange__envelope(root, &next, &markets, e);
    if (code != 0) return code;
    out->n_entries = (uint32_t)yyjson_arr_size(markets);
    if (out->n_entries == 0) return judge_missing(state, memo, asked, known, out);
    if (status == 404) return err__setf(e, ERR_PROTOCOL, EXCHANGE_NAME ": markets with status 404");
    int64_t hour = next - EXCHANGE_HOUR_S;
    if (exchange__hour(slice__str(state->cursor), &kept) && hour <= kept) {
        out->verdict = hour < kept ? PAGE_REWIND : PAGE_REPEAT;
        return err__setf(e, ERR_PROTOCOL,
                         EXCHANGE_NAME ": hour %lld was asked, %lld came, %lld is kept",
                         (long long)asked, (long long)hour, (long long)kept);
    }
    if (known && hour < asked)
        return err__setf(e, ERR_PROTOCOL, EXCHANGE_NAME ": hour %lld was asked, %lld came",
                         (long long)asked, (long long)hour);
    if (next > state->now.wall_ns / NS_PER_S + CLOCK_SLACK_S)
        return err__setf(e, ERR_PROTOCOL, EXCHANGE_NAME ": the hour %lld is not over",
                         (long long)hour);
    snprintf(out->next_cursor, sizeof out->next_cursor, "%lld", (long long)hour);
    write_memo(out, (struct memo){0});
    out->verdict = PAGE_NEW;
    return out->memo.failed ? ERR_NOMEM : 0;
}

/* Statuses but 200 and 404. The API says 403 when the scope is not granted; the CDN when it wants
 * to be left alone. */
static int judge_refusal(const struct stream_spec *stream, const struct source_answer *answer,
                         struct page_facts *out, struct err *e) {
    int status = answer->status;
    if (status == 403 && is_oauth(stream) && !out->block_page) {
        out->verdict = PAGE_UNAVAILABLE;
        return err__setf(e, ERR_REFUSED, EXCHANGE_NAME ": service:cxapi is not granted");
    }
    bool rest = !is_oauth(stream) && ((status >= 400 && status < 500) || status == 503);
    write_memo(out, (struct memo){.rest = rest});
    if (status == 0) return err__setf(e, ERR_PROTOCOL, EXCHANGE_NAME ": closed without an answer");
    return err__setf(e, ERR_PROTOCOL, EXCHANGE_NAME ": status %d%s", status,
                     out->block_page ? " with a page for people" : "");
}

/* Says of a 404 without the envelope what it means. */
static int refuse_404(const struct stream_spec *stream, const struct stream_state *state,
                      struct page_facts *out, struct err *e) {
    struct memo memo = read_memo(state->memo);
    bool known;
    int64_t first = first_missing(stream, state, 0, &known);
    out->too_old = known && memo.skip + 1 >= EXCHANGE_SKIP_MAX;
    write_memo(out, (struct memo){.rest = true});
    if (!out->too_old)
        return err__setf(e, ERR_MALFORMED, EXCHANGE_NAME ": status 404, and no word of the hours");
    return err__setf(e, ERR_MALFORMED,
                     EXCHANGE_NAME ": upstream has nothing so old: no hour of the %d from %lld on",
                     EXCHANGE_SKIP_MAX, (long long)first);
}

/* A 404 without the envelope. For an hour that is long over it is as good as none: upstream may
 * have removed it, and only a later hour makes it a gap. Else it is not what is promised for an
 * hour in progress: perhaps the address is wrong. */
static bool judge_bare_404(const struct stream_spec *stream, const struct stream_state *state,
                           struct page_facts *out) {
    struct memo memo = read_memo(state->memo);
    bool known;
    int64_t asked = first_missing(stream, state, 0, &known) + memo.skip * EXCHANGE_HOUR_S;
    if (known && memo.skip + 1 < EXCHANGE_SKIP_MAX && exchange__is_old(asked, now_of(state))) {
        judge_missing(state, memo, asked, known, out);
        return true;
    }
    return false;
}

static int judge(const struct stream_spec *stream, const struct stream_state *state,
                 const struct source_answer *answer, struct page_facts *out, struct err *e) {
    *out = (struct page_facts){.verdict = PAGE_INVALID};
    out->block_page = decode__is_html(answer->body);
    if (answer->status != 200 && answer->status != 404)
        return judge_refusal(stream, answer, out, e);
    yyjson_doc *doc = NULL;
    int code = out->block_page ? err__setf(e, ERR_MALFORMED, "a page for people instead of data")
                               : decode__read(answer->body, &doc, e);
    if (code != 0) err__prefixf(e, EXCHANGE_NAME);
    else code = judge_digest(stream, state, answer->status, yyjson_doc_get_root(doc), out, e);
    yyjson_doc_free(doc);
    if (code != ERR_MALFORMED || answer->status != 404) return code;
    return judge_bare_404(stream, state, out) ? 0 : refuse_404(stream, state, out, e);
}

static void note(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct buf *out) {
    struct memo memo = read_memo(state->memo);
    bool known;
    int64_t now_ns = now_of(state);
    int64_t hour = first_missing(stream, state, now_ns - settings->quick_ns, &known);
    int64_t n_behind = (exchange__last_complete(now_ns) - hour) / EXCHANGE_HOUR_S + 1;
    char text[32];
    struct tm utc;
    time_t t = (time_t)hour;
    if (!known || gmtime_r(&t, &utc) == NULL) return;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%MZ", &utc);
    if (memo.skip > 0)
        buf__printf(out, "hour %s is missing, and %d behind it: looks for a later one", text,
                    memo.skip - 1);
    else if (memo.searched)
        buf__printf(out, "hour %s is missing, and nothing later is there yet", text);
    else if (n_behind > 1)
        buf__printf(out, "%lld hours behind, next is %s", (long long)n_behind, text);
    else buf__printf(out, "next is the hour %s", text);
}

static const struct table_desc *const tables[] = {
    &table_bronze_exchange_events, &table_bronze_exchange_gaps, &table_bronze_quarantine, NULL};

const struct source_type source_currency_exchange = {
    .name = EXCHANGE_NAME,
    .judges_errors = true,
    .tables = tables,
    .note = note,
    .streams = list_streams,
    .plan = plan,
    .judge = judge,
    .cursor = exchange__cursor,
    .reached = exchange__reached,
    .decode = exchange__decode,
};
