/* A user's login: GET /oauth/authorize shows a page that asks, its button sends the browser away
 * with a code, and POST /oauth/token takes that once, from whoever holds the verifier (RFC 6749
 * 4.1, RFC 7636). What comes back has a refresh token that is good once too: each use makes the
 * next, and an old one is 400 invalid_grant, as the vendor does with public clients
 * (https://www.pathofexile.com/developer/docs/authorization). POST /oauth/token/revoke ends a
 * login.
 *
 * Codes and logins are of this run alone. After a restart the newest refresh token that is shown is
 * taken for the newest there is. */
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "../sim.h"

#define USER "exile#1234"
#define REDIRECT "http://127.0.0.1:" /* The only kind that an installed program gets. */
enum { CODE_LIFE_S = 30, VERIFIER_MIN = 43, VERIFIER_MAX = 128 };

/** What the page is asked with. */
struct asked {
    char client[128], kind[16], scope[512], state[256], redirect[256], challenge[64], method[16];
    unsigned mask;
};

static bool take(const struct http_request *q, const char *key, char *out, size_t cap) {
    return http__query(q, key, out, cap) > 0;
}

/** @return what is wrong with the request; NULL for nothing. */
static const char *read_asked(const struct sim *s, const struct http_request *q, struct asked *a) {
    if (!take(q, "client_id", a->client, sizeof a->client)) return "client_id is missing";
    if (!take(q, "redirect_uri", a->redirect, sizeof a->redirect) ||
        strncmp(a->redirect, REDIRECT, strlen(REDIRECT)) != 0 ||
        strpbrk(a->redirect, "?# \r\n") != NULL)
        return "redirect_uri is not on 127.0.0.1";
    if (!take(q, "response_type", a->kind, sizeof a->kind) || strcmp(a->kind, "code") != 0)
        return "response_type is not code";
    if (!take(q, "state", a->state, sizeof a->state)) return "state is missing";
    if (!take(q, "code_challenge", a->challenge, sizeof a->challenge) ||
        strlen(a->challenge) != VERIFIER_MIN ||
        !take(q, "code_challenge_method", a->method, sizeof a->method) ||
        strcmp(a->method, "S256") != 0)
        return "code_challenge is not one of S256";
    if (!take(q, "scope", a->scope, sizeof a->scope) || !scopes__read(a->scope, " ", &a->mask) ||
        a->mask == 0 || (a->mask & ~scopes__granted(s)) != 0)
        return "a scope is invalid or not granted";
    return NULL;
}

static void add_html(struct buf *b, const char *text) {
    for (; *text != '\0'; text++) {
        if (strchr("<>&\"'", *text) != NULL) buf__addf(b, "&#%d;", *text);
        else buf__addc(b, *text);
    }
}

static void add_url(struct buf *b, const char *text) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    for (; *text != '\0'; text++) {
        if (strchr(plain, *text) != NULL) buf__addc(b, *text);
        else buf__addf(b, "%%%02X", (unsigned char)*text);
    }
}

/** Ask the user. The form goes to the address that it came from, with its query. */
static void show_page(const struct asked *a, struct reply *r) {
    struct buf b = {0};
    buf__adds(&b,
              "<!doctype html><title>Sign in</title><link rel=\"icon\" href=\"data:,\"><h1>Let ");
    add_html(&b, a->client);
    buf__adds(&b, " in?</h1><p>It asks for: ");
    add_html(&b, a->scope);
    buf__adds(&b,
              "</p><form method=\"post\"><button name=\"answer\" value=\"allow\">Allow</button> "
              "<button name=\"answer\" value=\"deny\">Deny</button></form>");
    reply_html(r, 200, b.at);
    buf__fini(&b);
}

static void make_code(struct sim *s, const struct asked *a, char out[17]) {
    struct login_code *c = &s->codes[s->n_codes % LOGIN_CODES_MAX];
    *c = (struct login_code){.mask = a->mask,
                             .until_ns = s->clock.wall_ns + CODE_LIFE_S * SIM_NS_PER_S};
    snprintf(c->code, sizeof c->code, "%016" PRIx64, mix64(s->o->seed ^ 0xc0de, s->n_codes++));
    memcpy(c->challenge, a->challenge, sizeof c->challenge); /* 43 characters and their NUL. */
    memcpy(c->redirect, a->redirect, sizeof c->redirect);
    memcpy(c->client, a->client, sizeof c->client);
    memcpy(out, c->code, sizeof c->code);
}

static void send_away(struct sim *s, const struct asked *a, bool allowed, struct reply *r) {
    char code[17];
    struct buf b = {0};
    buf__addf(&b, "Location: %s?", a->redirect);
    if (allowed) {
        make_code(s, a, code);
        buf__addf(&b, "code=%s", code);
    } else {
        buf__adds(&b, "error=access_denied");
    }
    buf__adds(&b, "&state=");
    add_url(&b, a->state);
    buf__addf(&r->headers, "%s\r\n", b.at);
    buf__fini(&b);
    r->status = 302;
}

void handle_authorize(struct sim *s, const struct http_request *q, struct reply *r) {
    struct asked a = {0};
    struct http_request form = {.query = q->body};
    char answer[16] = "";
    bool post = span__is(q->method, "POST");
    const char *wrong = read_asked(s, q, &a);
    if (!post && !pass_method(q, r)) return;
    buf__adds(&r->headers, "Cache-Control: no-store\r\n");
    if (wrong != NULL) reply_html(r, 400, wrong);
    else if (!post) show_page(&a, r);
    else if (!take(&form, "answer", answer, sizeof answer)) reply_html(r, 400, "no answer");
    else send_away(s, &a, strcmp(answer, "allow") == 0, r);
}

/** @return whether @verifier is what @challenge was made of. */
static bool proves(const char *verifier, const char *challenge) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char sum[SHA256_DIGEST_LENGTH + 1] = {0}; /* One more, for the last letter's bits. */
    char text[VERIFIER_MIN + 1];
    SHA256((const unsigned char *)verifier, strlen(verifier), sum);
    for (unsigned i = 0, bit = 0; i < VERIFIER_MIN; i++, bit += 6) {
        unsigned two = (unsigned)sum[bit / 8] << 8 | (bit / 8 < 32 ? sum[bit / 8 + 1] : 0u);
        text[i] = letters[two >> (10 - bit % 8) & 63];
    }
    text[VERIFIER_MIN] = '\0';
    return strcmp(text, challenge) == 0;
}

static struct login *find_login(struct sim *s, uint64_t id) {
    for (size_t i = 0; i < LOGINS_MAX; i++)
        if (s->logins[i].id == id) return &s->logins[i];
    return NULL;
}

bool login__is_revoked(const struct sim *s, uint64_t id) {
    for (size_t i = 0; i < LOGINS_MAX; i++)
        if (s->logins[i].id == id) return s->logins[i].revoked;
    return false;
}

static struct login *add_login(struct sim *s, uint64_t id, uint32_t generation) {
    struct login *l = &s->logins[s->n_logins++ % LOGINS_MAX];
    *l = (struct login){.id = id, .generation = generation};
    return l;
}

static uint64_t seal(const struct sim *s, uint64_t id, uint32_t generation, unsigned mask) {
    return token__seal(s, id ^ 0x5ea1, (int64_t)generation, mask);
}

/** Answer with the next tokens of @l; its older refresh tokens are worth nothing from here on. */
static void reply_next(struct sim *s, struct login *l, unsigned mask, struct reply *r) {
    char refresh[80];
    l->generation++;
    snprintf(refresh, sizeof refresh, "simr-%016" PRIx64 ".%" PRIx32 ".%x.%016" PRIx64, l->id,
             l->generation, mask, seal(s, l->id, l->generation, mask));
    reply_token(s, l->id, mask, USER, refresh, r);
}

static bool read_refresh(const struct sim *s, const char *text, struct login *out, unsigned *mask) {
    uint64_t check;
    int used = 0;
    *out = (struct login){0};
    return sscanf(text, "simr-%16" SCNx64 ".%8" SCNx32 ".%7x.%16" SCNx64 "%n", &out->id,
                  &out->generation, mask, &check, &used) == 4 &&
           text[used] == '\0' && check == seal(s, out->id, out->generation, *mask);
}

static void grant_code(struct sim *s, const struct http_request *form, const char *id,
                       struct reply *r) {
    char code[32], redirect[256], verifier[VERIFIER_MAX + 1];
    struct login_code *c = NULL;
    if (!take(form, "code", code, sizeof code) ||
        !take(form, "redirect_uri", redirect, sizeof redirect) ||
        !take(form, "code_verifier", verifier, sizeof verifier)) {
        reply_oauth_error(r, 400, "invalid_request", "A parameter is missing");
        return;
    }
    for (size_t i = 0; i < LOGIN_CODES_MAX; i++)
        if (s->codes[i].until_ns != 0 && strcmp(s->codes[i].code, code) == 0) c = &s->codes[i];
    bool good = c != NULL && s->clock.wall_ns < c->until_ns && strcmp(c->client, id) == 0 &&
                strcmp(c->redirect, redirect) == 0 && strlen(verifier) >= VERIFIER_MIN &&
                proves(verifier, c->challenge);
    if (c != NULL) c->until_ns = 0; /* Whoever shows it has spent it. */
    if (!good) {
        reply_oauth_error(r, 400, "invalid_grant", "The code is not good for this");
        return;
    }
    struct login *l = add_login(s, mix64(s->o->seed, 900 + s->n_tokens++), 0);
    reply_next(s, l, c->mask, r);
}

static void grant_refresh(struct sim *s, const struct http_request *form, struct reply *r) {
    char text[128];
    struct login shown, *l = NULL;
    unsigned mask = 0;
    if (!take(form, "refresh_token", text, sizeof text)) {
        reply_oauth_error(r, 400, "invalid_request", "A parameter is missing");
        return;
    }
    bool good = read_refresh(s, text, &shown, &mask);
    if (good) l = find_login(s, shown.id);
    if (good && l == NULL) l = add_login(s, shown.id, shown.generation);
    if (!good || l->revoked || l->generation != shown.generation) {
        reply_oauth_error(r, 400, "invalid_grant", "The refresh token is not good any more");
        return;
    }
    reply_next(s, l, mask, r);
}

void grant_login(struct sim *s, const struct http_request *form, const char *grant, const char *id,
                 struct reply *r) {
    if (strcmp(grant, "authorization_code") == 0) grant_code(s, form, id, r);
    else if (strcmp(grant, "refresh_token") == 0) grant_refresh(s, form, r);
    else reply_oauth_error(r, 400, "unsupported_grant_type", "No such grant");
}

/* RFC 7009: a token that is not known is as good as revoked. */
void handle_revoke(struct sim *s, const struct http_request *q, struct reply *r) {
    struct http_request form = {.query = q->body};
    char id[128], secret[256] = "", text[128];
    struct login shown, *l;
    unsigned mask;
    if (!span__is(q->method, "POST")) {
        reply_error(r, 405, 9, "Method not allowed");
        return;
    }
    if (!pass_limiter(s, &s->oauth, q, r)) return;
    if (!take(&form, "client_id", id, sizeof id) || !take(&form, "token", text, sizeof text) ||
        http__query(&form, "client_secret", secret, sizeof secret) == -2) {
        reply_oauth_error(r, 400, "invalid_request", "A parameter is missing");
        return;
    }
    if (!pass_client(s, id, secret, r)) return;
    bool good = read_refresh(s, text, &shown, &mask);
    if (good && (mask & scopes__bit("oauth:revoke")) == 0) {
        reply_oauth_error(r, 403, "insufficient_scope", "The token has not the scope oauth:revoke");
        return;
    }
    if (good) {
        l = find_login(s, shown.id);
        if (l == NULL) l = add_login(s, shown.id, shown.generation);
        l->revoked = true;
    }
    reply_json(r, 200, "{}", 2);
}
