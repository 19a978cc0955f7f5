/* oauth: tokens by client credentials, one stream a scope; and the audit of what is granted.
 *
 * POST {base}/oauth/token with client_id, client_secret, grant_type and scope. The happy path: 200
 * with a token, which goes into the memo and nowhere else; what is kept on disk is a few words
 * about the answer, which become a row of ops_scope_audit. It is asked for again at 80 % of its
 * life, weekly at the latest, and when somebody found that it is worth nothing.
 *
 * What can fail: a scope that is not granted is a normal state, looked at again with the next
 * audit. Wrong credentials are not tried again for a day, or until they change: every try counts
 * against the address. That holds across restarts, by the cursor: TIME/granted, TIME/refused,
 * TIME/denied/MARK or TIME/ended/LOGIN, where the mark is 16 bits of a hash of the credentials, and
 * LOGIN is which login was over. Anything else is a failure of the moment.
 *
 * A login's refresh token is nowhere in here: the poller adds it to the body, and what an answer
 * brings goes to disk before it is believed. One that is refused is not shown again, ever, whoever
 * asks; what was said of one login says nothing of the next, which is asked for at once. */
#include "souk/oauth.h"
#include "souk/decode.h"
#include "souk/quality.h"
#include "souk/source.h"
#include "souk/tables.h"
#include <inttypes.h>
#include <stdio.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define OAUTH_NAME "oauth"
#define DENIED_WAIT_NS (86400 * NS_PER_S)
#define RETRY_NS (30 * NS_PER_S) /* After a failure of the moment; doubles, at most five times. */
#define LIFE_MAX_S (400 * INT64_C(86400))
#define CODE_MAX 64
#define LOGIN_MARK "L" /* Begins the mark of a stream whose tokens come from a login. */
#define MEMO_MAX ((size_t)8 << 10)

struct memo_head { /* Of a memo, in front of its token or reason. In memory only. */
    int64_t asked_mono_ns, life_ns;
    enum oauth_standing standing;
    char login[LOGIN_ID_SIZE];
};

void oauth__read(struct slice memo, struct oauth_grant *out) {
    struct memo_head head;
    *out = (struct oauth_grant){.standing = OAUTH_UNKNOWN};
    if (memo.len < sizeof head) return;
    memcpy(&head, memo.base, sizeof head);
    struct slice text = slice__of(memo.base + sizeof head, memo.len - sizeof head);
    out->standing = head.standing;
    out->asked_mono_ns = head.asked_mono_ns;
    out->life_ns = head.life_ns;
    memcpy(out->login, head.login, sizeof out->login);
    if (head.standing == OAUTH_GRANTED) out->token = text;
    else out->reason = text;
}

bool oauth__is_good(const struct oauth_grant *grant, int64_t now_mono_ns) {
    return grant->standing == OAUTH_GRANTED &&
           (grant->life_ns == 0 || now_mono_ns < grant->asked_mono_ns + grant->life_ns);
}

static void put_memo(struct buf *out, const struct oauth_grant *grant) {
    struct memo_head head;
    memset(&head, 0, sizeof head); /* With its padding. */
    head.asked_mono_ns = grant->asked_mono_ns;
    head.life_ns = grant->life_ns;
    head.standing = grant->standing;
    memcpy(head.login, grant->login, sizeof head.login);
    *out = buf__init(MEMO_MAX);
    buf__append(out, &head, sizeof head);
    buf__append_slice(out, grant->standing == OAUTH_GRANTED ? grant->token : grant->reason);
}

/* Too few bits to tell anything of a secret, enough to see that it has changed. */
static void mark_of(const struct source_settings *settings, bool login, char out[8]) {
    XXH64_hash_t h = XXH3_64bits(settings->client_id, strlen(settings->client_id));
    h = XXH3_64bits_withSeed(settings->client_secret, strlen(settings->client_secret), h);
    snprintf(out, 8, "%.1s%04x", login ? LOGIN_MARK : "", (unsigned)(h & 0xffff));
}

bool oauth__is_login(const struct stream_spec *stream) { return stream->mark[0] == LOGIN_MARK[0]; }

static bool put_field(char *out, size_t size, const char *name, const char *value) {
    size_t len = strlen(out);
    int n = snprintf(out + len, size - len, "%s%s=", len == 0 ? "" : "&", name);
    return n > 0 && (size_t)n < size - len && source__url_append(out, size, slice__str(value));
}

static bool put_form(const struct source_settings *settings, const char *scope, char *out,
                     size_t size) {
    out[0] = '\0';
    return put_field(out, size, "client_id", settings->client_id) &&
           put_field(out, size, "client_secret", settings->client_secret) &&
           put_field(out, size, "grant_type", "client_credentials") &&
           put_field(out, size, "scope", scope);
}

/* Without the refresh token, which is the poller's. A public client has no secret. */
static bool put_login_form(const struct source_settings *settings, char *out, size_t size) {
    out[0] = '\0';
    return put_field(out, size, "client_id", settings->client_id) &&
           (settings->client_secret[0] == '\0' ||
            put_field(out, size, "client_secret", settings->client_secret)) &&
           put_field(out, size, "grant_type", "refresh_token");
}

static int list_streams(const struct source_settings *settings, struct stream_spec *out,
                        struct err *e) {
    struct source_request r;
    if (settings->n_kinds > STREAMS_MAX)
        return err__setf(e, ERR_CONFIG, "oauth: %zu scopes, at most %d", settings->n_kinds,
                         STREAMS_MAX);
    size_t n = 0;
    for (size_t i = 0; i < settings->n_kinds; i++) {
        const char *scope = settings->kinds[i];
        bool login = settings->login[0] != '\0' && strcmp(scope, OAUTH_LOGIN_SCOPE) == 0;
        if (!login && settings->client_secret[0] == '\0') continue; /* A public client's. */
        struct stream_spec *s = &out[n++];
        *s = (struct stream_spec){
            .service = OAUTH_NAME, .endpoint = OAUTH_NAME, .path = "/oauth/token"};
        if (scope[0] == '\0' || strlen(scope) >= sizeof s->kind)
            return err__setf(e, ERR_CONFIG, "oauth: a scope is empty or too long");
        if (!put_form(settings, scope, r.body, sizeof r.body))
            return err__setf(e, ERR_CONFIG, "oauth: client id and secret exceed %zu bytes",
                             sizeof r.body);
        snprintf(s->key, sizeof s->key, "%s", scope);
        snprintf(s->kind, sizeof s->kind, "%s", scope);
        mark_of(settings, login, s->mark);
        for (size_t k = 0; k + 1 < n; k++)
            if (strcmp(out[k].key, s->key) == 0)
                return err__setf(e, ERR_CONFIG, "oauth: scope %s is there twice", scope);
    }
    return (int)n;
}

/* After a restart: what is left of the day for which credentials that were denied are not tried. */
static int64_t denied_rest_ns(const struct stream_spec *stream, const struct stream_state *state) {
    int64_t at_s;
    const char *slash = strchr(state->cursor, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - state->cursor);
    if (n == 0 || strncmp(slash, "/denied/", 8) != 0 || strcmp(slash + 8, stream->mark) != 0 ||
        !slice__int64(slice__of(state->cursor, n), &at_s) || at_s > INT64_MAX / NS_PER_S - 86400)
        return 0;
    int64_t rest_ns = at_s * NS_PER_S + DENIED_WAIT_NS - state->now.wall_ns;
    /* More than a day is a clock that was wrong: counted from now, it would never pass. One try
     * puts the time right. */
    return rest_ns > DENIED_WAIT_NS ? 0 : rest_ns;
}

/* What is known by now: of a login that is gone nothing counts for the one that there is. */
static void read_memo(const struct stream_spec *stream, const struct stream_state *state,
                      struct oauth_grant *out) {
    oauth__read(state->memo, out);
    if (oauth__is_login(stream) && strcmp(out->login, state->login) != 0)
        *out = (struct oauth_grant){.standing = OAUTH_UNKNOWN};
}

bool oauth__is_over(const struct stream_spec *stream, const struct stream_state *state) {
    struct oauth_grant grant;
    const char *slash = strchr(state->cursor, '/');
    read_memo(stream, state, &grant);
    return grant.standing == OAUTH_ENDED ||
           (grant.standing == OAUTH_UNKNOWN && oauth__is_login(stream) && state->login[0] != '\0' &&
            slash != NULL && strncmp(slash, "/ended/", 7) == 0 &&
            strcmp(slash + 7, state->login) == 0);
}

static int64_t next_ns(const struct source_settings *settings, const struct stream_spec *stream,
                       const struct stream_state *state) {
    struct oauth_grant grant;
    read_memo(stream, state, &grant);
    if (oauth__is_over(stream, state)) return INT64_MAX; /* Nobody can want it shown again. */
    if (state->poked) return 0;
    if (state->n_failures > 0) {
        uint32_t doublings = state->n_failures < 6 ? state->n_failures - 1 : 5;
        return state->last_reply_mono_ns + (RETRY_NS << doublings);
    }
    if (grant.standing == OAUTH_UNKNOWN) {
        int64_t rest_ns = denied_rest_ns(stream, state);
        return rest_ns > 0 ? state->now.mono_ns + rest_ns : 0;
    }
    int64_t wait_ns = settings->period_ns;
    if (grant.standing == OAUTH_GRANTED && grant.life_ns > 0 && grant.life_ns / 5 * 4 < wait_ns)
        wait_ns = grant.life_ns / 5 * 4;
    if (grant.standing == OAUTH_DENIED && DENIED_WAIT_NS < wait_ns) wait_ns = DENIED_WAIT_NS;
    return state->last_reply_mono_ns + (wait_ns > RETRY_NS ? wait_ns : RETRY_NS);
}

static void plan(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct source_request *out) {
    *out = (struct source_request){.method = "POST",
                                   .class = SOURCE_METADATA,
                                   .expect_4xx = true,
                                   .not_before_mono_ns = next_ns(settings, stream, state)};
    snprintf(out->endpoint, sizeof out->endpoint, "%s", stream->endpoint);
    snprintf(out->url, sizeof out->url, "%s%s", settings->base_url, stream->path);
    out->login = oauth__is_login(stream);
    if (out->login) put_login_form(settings, out->body, sizeof out->body);
    else put_form(settings, stream->kind, out->body, sizeof out->body);
}

/* A bearer token as RFC 6750, section 2.1, has it: it goes into a header line as it is. */
static bool is_token(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        char c = s.base[i];
        bool fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    c == '-' || c == '.' || c == '_' || c == '~' || c == '+' || c == '/' ||
                    c == '=';
        if (!fine) return false;
    }
    return s.len >= 8 && s.len <= OAUTH_TOKEN_MAX;
}

/* Copies a side field of an answer; leaves "" for what is none. */
static void copy_text(yyjson_val *v, char *out, size_t size) {
    struct slice s = yyjson_is_str(v) ? decode__slice(v) : slice__of(NULL, 0);
    bool fine = s.len < size;
    for (size_t i = 0; fine && i < s.len; i++)
        fine = (unsigned char)s.base[i] >= 0x20 && s.base[i] != 0x7f;
    snprintf(out, size, "%.*s", fine ? (int)s.len : 0, s.len > 0 ? s.base : "");
}

int oauth__parse_login(struct slice body, struct oauth_login *out, struct err *e) {
    yyjson_doc *doc;
    *out = (struct oauth_login){.life_s = 0};
    if (decode__read(body, &doc, e) != 0) /* Its words may quote a piece of a token. */
        return err__setf(e, ERR_MALFORMED, "oauth: the answer is not JSON");
    yyjson_val *root = yyjson_doc_get_root(doc), *refresh = yyjson_obj_get(root, "refresh_token");
    double life_s = yyjson_get_num(yyjson_obj_get(root, "expires_in"));
    bool none = refresh == NULL || yyjson_is_null(refresh);
    bool fine = yyjson_is_obj(root) &&
                (none || (yyjson_is_str(refresh) && is_token(decode__slice(refresh))));
    if (fine) {
        if (!none) copy_text(refresh, out->refresh, sizeof out->refresh);
        copy_text(yyjson_obj_get(root, "username"), out->username, sizeof out->username);
        copy_text(yyjson_obj_get(root, "scope"), out->scope, sizeof out->scope);
        if (life_s > 0 && life_s <= (double)LIFE_MAX_S) out->life_s = (int64_t)life_s;
    }
    yyjson_doc_free(doc);
    return fine ? 0 : err__setf(e, ERR_MALFORMED, "oauth: \"refresh_token\" is no token");
}

/* @return whether @scope is one of the words of @granted, in whatever order they come. */
static bool has_scope(struct slice granted, struct slice scope) {
    while (granted.len > 0) {
        const char *blank = memchr(granted.base, ' ', granted.len);
        size_t n = blank == NULL ? granted.len : (size_t)(blank - granted.base);
        if (slice__eq(slice__of(granted.base, n), scope)) return true;
        n += n < granted.len;
        granted = slice__of(granted.base + n, granted.len - n);
    }
    return false;
}

/* Section 5.1. expires_in and scope may be missing; null is as good as that. */
static int read_token(yyjson_val *root, struct slice scope, struct oauth_grant *out,
                      struct err *e) {
    struct decode_fault f = {.kind = DECODE_FINE};
    struct slice type = SLICE_LIT("bearer"), granted = scope;
    double life_s = 0;
    yyjson_val *token = yyjson_obj_get(root, "access_token");
    if (!decode__need(token, "access_token", &f) ||
        !decode__str(token, "access_token", OAUTH_TOKEN_MAX, &out->token, &f) ||
        !decode__str(yyjson_obj_get(root, "token_type"), "token_type", CODE_MAX, &type, &f) ||
        !decode__num(yyjson_obj_get(root, "expires_in"), "expires_in", &life_s, &f) ||
        !decode__str(yyjson_obj_get(root, "scope"), "scope", 1024, &granted, &f)) {
        f.value = NULL; /* It may be the token: an error names the field alone. */
        return decode__err(&f, "oauth", e);
    }
    if (!is_token(out->token) || !slice__ieq(type, SLICE_LIT("bearer")))
        return err__setf(e, ERR_MALFORMED, "oauth: what came is no bearer token");
    if (life_s < 0 || life_s > (double)LIFE_MAX_S)
        return err__setf(e, ERR_MALFORMED, "oauth: \"expires_in\" is %g", life_s);
    out->life_ns = (int64_t)life_s * NS_PER_S;
    if (has_scope(granted, scope)) {
        out->standing = OAUTH_GRANTED;
    } else {
        out->standing = OAUTH_REFUSED; /* A token for other things is of no use here. */
        out->reason = SLICE_LIT("scope_not_in_answer");
        out->life_ns = 0;
    }
    return 0;
}

/* Whether a refusal is one in the words of RFC 6749: only such a one may end a login, which nothing
 * but its user brings back. */
static bool is_standard(struct slice reason) {
    return slice__starts(reason, SLICE_LIT("invalid_")) ||
           slice__starts(reason, SLICE_LIT("unauthorized_")) ||
           slice__starts(reason, SLICE_LIT("unsupported_"));
}

/* Section 5.2, or the vendor's own form of an error. Its description is left out: nobody knows
 * what a server repeats in there. */
static void read_refusal(yyjson_val *root, int status, char code[CODE_MAX],
                         struct oauth_grant *out) {
    yyjson_val *error = yyjson_obj_get(root, "error");
    struct slice text = yyjson_is_str(error) ? decode__slice(error) : slice__of(NULL, 0);
    bool fine = text.len > 0 && text.len < CODE_MAX;
    for (size_t i = 0; fine && i < text.len; i++)
        fine = (text.base[i] >= 'a' && text.base[i] <= 'z') || text.base[i] == '_';
    if (fine) snprintf(code, CODE_MAX, "%.*s", SLICE_FMT(text));
    else if (yyjson_is_uint(yyjson_obj_get(error, "code")))
        snprintf(code, CODE_MAX, "error %" PRIu64, yyjson_get_uint(yyjson_obj_get(error, "code")));
    else snprintf(code, CODE_MAX, "http_%d", status);
    bool scope = strcmp(code, "invalid_scope") == 0 || strcmp(code, "unauthorized_client") == 0;
    out->standing = scope ? OAUTH_REFUSED : OAUTH_DENIED;
    out->reason = slice__str(code);
}

static const char *word_of(enum oauth_standing s) {
    static const char *const words[] = {[OAUTH_GRANTED] = "granted",
                                        [OAUTH_REFUSED] = "refused",
                                        [OAUTH_DENIED] = "denied",
                                        [OAUTH_ENDED] = "ended"};
    return words[s];
}

/* What is known becomes the memo, the cursor, and the few words that are kept. */
static void put_facts(const struct stream_spec *stream, const struct stream_state *state,
                      int status, const struct oauth_grant *grant, struct page_facts *out) {
    bool granted = grant->standing == OAUTH_GRANTED;
    const char *mark = grant->standing == OAUTH_DENIED  ? stream->mark
                       : grant->standing == OAUTH_ENDED ? state->login
                                                        : "";
    snprintf(out->next_cursor, sizeof out->next_cursor, "%" PRId64 "/%s%s%s",
             state->now.wall_ns / NS_PER_S, word_of(grant->standing), mark[0] == '\0' ? "" : "/",
             mark);
    put_memo(&out->memo, grant);
    out->keep = buf__init(1024);
    buf__append_str(&out->keep, "{\"scope\":");
    buf__json_string(&out->keep, slice__str(stream->kind));
    buf__printf(&out->keep,
                ",\"available\":%s,\"status\":%d,\"detail\":", granted ? "true" : "false", status);
    buf__json_string(&out->keep, granted ? SLICE_LIT("granted") : grant->reason);
    buf__printf(&out->keep, ",\"expires_in\":%" PRId64 "}", grant->life_ns / NS_PER_S);
    out->n_entries = 1;
    out->verdict = PAGE_NEW;
}

/* What the answer to a login says must be on disk, whatever else is wrong with it: the refresh
 * token that was shown is spent. */
static void put_secret(struct slice body, struct page_facts *out) {
    struct oauth_login login;
    struct err e = {0};
    if (oauth__parse_login(body, &login, &e) != 0) return;
    out->secret = buf__init(body.len + 1);
    buf__append_slice(&out->secret, body);
}

static int judge(const struct stream_spec *stream, const struct stream_state *state,
                 const struct source_answer *answer, struct page_facts *out, struct err *e) {
    int status = answer->status;
    *out = (struct page_facts){.verdict = PAGE_INVALID};
    out->block_page = decode__is_html(answer->body);
    bool refusal = status == 400 || status == 401 || status == 403;
    if (out->block_page || (status != 200 && !refusal))
        return err__setf(e, ERR_PROTOCOL, "oauth: %s: status %d%s", stream->kind, status,
                         out->block_page ? " with a page for people" : "");
    if (oauth__is_login(stream) && status == 200) put_secret(answer->body, out);
    yyjson_doc *doc;
    struct oauth_grant grant = {.asked_mono_ns = state->now.mono_ns};
    if (oauth__is_login(stream)) memcpy(grant.login, state->login, sizeof grant.login);
    char code[CODE_MAX];
    int err = decode__read(answer->body, &doc, e);
    if (err != 0 && !refusal) {
        /* The parser's words quote what it stumbled over, which may be a piece of a token. */
        return err__setf(e, err, "oauth: %s: the answer is not JSON", stream->kind);
    }
    yyjson_val *root = err == 0 ? yyjson_doc_get_root(doc) : NULL;
    if (refusal) read_refusal(root, status, code, &grant);
    else err = read_token(root, slice__str(stream->kind), &grant, e);
    if (oauth__is_login(stream) && refusal && !is_standard(grant.reason)) {
        err = err__setf(e, ERR_PROTOCOL, "oauth: %s: status %d (%s)", stream->kind, status, code);
        yyjson_doc_free(doc);
        return err;
    }
    if (oauth__is_login(stream) && refusal && strcmp(code, "invalid_grant") == 0)
        grant.standing = OAUTH_ENDED;
    if (refusal || err == 0) {
        err = 0;
        put_facts(stream, state, status, &grant, out);
    }
    yyjson_doc_free(doc);
    return err;
}

static int decode(const struct page *page, const struct decode_context *context, struct rows *out,
                  struct err *e) {
    (void)context;
    yyjson_doc *doc;
    struct decode_fault f = {.kind = DECODE_FINE};
    struct slice scope = {0}, detail = {0};
    bool available = false;
    uint32_t status = 0, life_s = 0;
    int err = decode__read(page->body, &doc, e);
    if (err != 0) return err__prefixf(e, OAUTH_NAME);
    yyjson_val *root = yyjson_doc_get_root(doc), *name = yyjson_obj_get(root, "scope");
    bool ok =
        decode__need(name, "scope", &f) && decode__str(name, "scope", 1024, &scope, &f) &&
        decode__bool(yyjson_obj_get(root, "available"), "available", &available, &f) &&
        decode__u32(yyjson_obj_get(root, "status"), "status", 999, &status, &f) &&
        decode__str(yyjson_obj_get(root, "detail"), "detail", 1024, &detail, &f) &&
        decode__u32(yyjson_obj_get(root, "expires_in"), "expires_in", UINT32_MAX, &life_s, &f);
    struct batch *b = ok ? rows__batch(out, &table_ops_scope_audit, SLICE_LIT("")) : NULL;
    const struct scope_audit_row row = {
        .wall_ns = page->received_wall_ns,
        .scope = scope,
        .available = available,
        .http_status = (uint16_t)status,
        .detail = detail,
        .expires_in_s = life_s,
        .origin = {.src = OAUTH_NAME, .lsn = page->lsn, .ord = 0},
    };
    if (b != NULL) tables__scope_audit_row(b, &row);
    yyjson_doc_free(doc);
    return ok ? 0 : decode__err(&f, OAUTH_NAME, e);
}

static void note(const struct source_settings *settings, const struct stream_spec *stream,
                 const struct stream_state *state, struct buf *out) {
    struct oauth_grant grant;
    (void)settings;
    read_memo(stream, state, &grant);
    if (grant.standing == OAUTH_REFUSED)
        buf__printf(out, "scope %s is not granted (%.*s)", stream->kind, SLICE_FMT(grant.reason));
    else if (oauth__is_over(stream, state))
        buf__append_str(out,
                        "the login is over, the vendor takes its refresh token no more; log in "
                        "again: souk login account");
    else if (grant.standing == OAUTH_DENIED ||
             (grant.standing == OAUTH_UNKNOWN && denied_rest_ns(stream, state) > 0))
        buf__printf(out,
                    "client id and secret are refused%s%.*s: nothing is asked for a day, or until "
                    "POE_CLIENT_ID or POE_CLIENT_SECRET change",
                    grant.reason.len > 0 ? " as " : "", SLICE_FMT(grant.reason));
    else if (grant.standing == OAUTH_GRANTED) buf__printf(out, "scope %s is granted", stream->kind);
}

static const struct table_desc *const tables[] = {&table_ops_scope_audit, &table_bronze_quarantine,
                                                  NULL};

const struct source_type source_oauth = {
    .name = OAUTH_NAME,
    .judges_errors = true,
    .judges_once = true,
    .tables = tables,
    .streams = list_streams,
    .plan = plan,
    .judge = judge,
    .decode = decode,
    .note = note,
};
