/* Who asks: POST /oauth/token hands out tokens by scope, and the API paths look at them.
 *
 * A token tells everything about itself (when it ends, which scopes it opens) and ends with a check
 * that only this simulator's seed makes, so that nothing has to be remembered and a restarted
 * simulator still knows the tokens that it gave. Errors have the shape of RFC 6749 5.2; a scope
 * that was not granted to the client is 400 invalid_scope, the normal state of most clients
 * (https://www.pathofexile.com/developer/docs/authorization). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "../sim.h"

/* In the order in which an answer names them, whatever order they were asked in. */
static const char *const scopes[] = {
    "account:stashes",     "account:profile", "account:leagues", "account:characters",
    "service:cxapi",       "service:psapi",   "service:leagues", "service:leagues:ladder",
    "service:pvp_matches", "oauth:revoke"};
enum { N_SCOPES = sizeof scopes / sizeof scopes[0] };

/** @return the bit of the scope named by @n bytes at @text; 0 when there is no such scope. */
static unsigned scope_bit(const char *text, size_t n) {
    for (unsigned i = 0; i < N_SCOPES; i++)
        if (strlen(scopes[i]) == n && memcmp(scopes[i], text, n) == 0) return 1u << i;
    return 0;
}

bool scopes__read(const char *list, const char *between, unsigned *out) {
    *out = 0;
    while (*list != '\0') {
        size_t n = strcspn(list, between);
        unsigned bit = n > 0 ? scope_bit(list, n) : 0;
        if (n > 0 && bit == 0) return false;
        *out |= bit;
        list += n;
        list += strspn(list, between);
    }
    return true;
}

unsigned scopes__bit(const char *name) { return scope_bit(name, strlen(name)); }

unsigned scopes__granted(const struct sim *s) {
    unsigned mask = 0;
    if (strcmp(s->o->scopes, "none") != 0) scopes__read(s->o->scopes, ",", &mask);
    return mask;
}

bool scopes__are_known(const char *list) {
    unsigned mask;
    return strcmp(list, "none") == 0 || scopes__read(list, ",", &mask);
}

uint64_t token__seal(const struct sim *s, uint64_t id, int64_t end_s, unsigned mask) {
    return mix64(mix64(s->o->seed, id), mix64((uint64_t)end_s, mask));
}

void reply_oauth_error(struct reply *r, int status, const char *code, const char *why) {
    struct buf b = {0};
    buf__addf(&b, "{\"error\":\"%s\",\"error_description\":", code);
    buf__add_json(&b, why, strlen(why));
    buf__addc(&b, '}');
    reply_json(r, status, b.at, b.len);
    buf__fini(&b);
}

bool pass_client(const struct sim *s, const char *id, const char *secret, struct reply *r) {
    const char *client = s->o->client, *colon = client != NULL ? strchr(client, ':') : NULL;
    const char *right = colon != NULL ? colon + 1 : "sim-secret";
    if (colon != NULL && (strlen(id) != (size_t)(colon - client) ||
                          memcmp(id, client, (size_t)(colon - client)) != 0)) {
        reply_oauth_error(r, 401, "invalid_client", "The client is not known");
        return false;
    }
    if (secret[0] == '\0' || strcmp(secret, right) == 0) return true;
    reply_oauth_error(r, 400, "invalid_client", "The client credentials are invalid");
    return false;
}

void reply_token(struct sim *s, uint64_t id, unsigned mask, const char *user, const char *refresh,
                 struct reply *r) {
    struct buf b = {0};
    int64_t end_s = s->clock.wall_ns / SIM_NS_PER_S + s->o->token_life_s;
    bool first = true;
    buf__addf(&b,
              "{\"access_token\":\"sim-%016" PRIx64 ".%" PRIx64 ".%x.%016" PRIx64
              "\",\"expires_in\":%" PRId64
              ",\"token_type\":\"bearer\",\"username\":\"%s\",\"sub\":\"1\",",
              id, (uint64_t)end_s, mask, token__seal(s, id, end_s, mask), s->o->token_life_s, user);
    if (refresh != NULL) buf__addf(&b, "\"refresh_token\":\"%s\",", refresh);
    buf__adds(&b, "\"scope\":\"");
    for (unsigned i = 0; i < N_SCOPES; i++) {
        if ((mask & 1u << i) == 0) continue;
        buf__addf(&b, "%s%s", first ? "" : " ", scopes[i]);
        first = false;
    }
    buf__adds(&b, "\"}");
    buf__adds(&r->headers, "Cache-Control: no-store\r\n");
    reply_json(r, 200, b.at, b.len);
    buf__fini(&b);
}

void handle_oauth(struct sim *s, const struct http_request *q, struct reply *r) {
    struct http_request form = {.query = q->body}; /* A form reads like a query. */
    char grant[64], scope[512], id[128], secret[256] = "";
    unsigned asked = 0;
    struct fault f;
    if (!span__is(q->method, "POST")) {
        reply_error(r, 405, 9, "Method not allowed");
        return;
    }
    if (!pass_limiter(s, &s->oauth, q, r) || meet_fault(s, "oauth", r, &f)) return;
    if (http__query(&form, "client_id", id, sizeof id) <= 0 ||
        http__query(&form, "client_secret", secret, sizeof secret) == -2 ||
        http__query(&form, "grant_type", grant, sizeof grant) <= 0) {
        reply_oauth_error(r, 400, "invalid_request", "A parameter is missing");
        return;
    }
    if (!pass_client(s, id, secret, r)) return;
    if (strcmp(grant, "client_credentials") != 0) {
        grant_login(s, &form, grant, id, r);
        spoil_json(&f, r, "{\"access_token\":{},\"expires_in\":\"soon\"}");
        return;
    }
    if (secret[0] == '\0') { /* What is no user's is for those alone who can keep one. */
        reply_oauth_error(r, 400, "invalid_client", "The client credentials are invalid");
        return;
    }
    if (http__query(&form, "scope", scope, sizeof scope) < 0) {
        reply_oauth_error(r, 400, "invalid_request", "A parameter is missing");
        return;
    }
    if (!scopes__read(scope, " ", &asked) || asked == 0 || (asked & ~scopes__granted(s)) != 0) {
        reply_oauth_error(r, 400, "invalid_scope", "The requested scope is invalid or not granted");
        return;
    }
    reply_token(s, mix64(s->o->seed, 900 + s->n_tokens++), asked, "souk", NULL, r);
    spoil_json(&f, r, "{\"access_token\":{},\"expires_in\":\"soon\"}");
}

/** Read a token. @return false when this simulator did not make it. */
static bool read_token(const struct sim *s, struct span text, int64_t *end_s, unsigned *mask) {
    char copy[128];
    uint64_t id, end, check;
    int used = 0;
    if (text.len >= sizeof copy) return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    if (sscanf(copy, "sim-%16" SCNx64 ".%15" SCNx64 ".%7x.%16" SCNx64 "%n", &id, &end, mask, &check,
               &used) != 4 ||
        (size_t)used != text.len)
        return false;
    *end_s = (int64_t)end;
    return check == token__seal(s, id, *end_s, *mask) && !login__is_revoked(s, id);
}

bool pass_agent(const struct http_request *q, struct reply *r) {
    struct span agent = http__header(q, "user-agent");
    if (agent.len >= 6 && memcmp(agent.at, "OAuth ", 6) == 0) return true;
    reply_error(r, 403, 6,
                "Forbidden: the User-Agent must begin with OAuth {clientId}/{version} "
                "(contact: {contact})");
    return false;
}

bool pass_identity(const struct sim *s, const struct http_request *q, const char *scope,
                   struct reply *r) {
    struct span auth = http__header(q, "authorization");
    int64_t end_s;
    unsigned mask;
    if (!pass_agent(q, r)) return false;
    if (!s->o->require_token) return true;
    if (auth.len < 7 || memcmp(auth.at, "Bearer ", 7) != 0 ||
        !read_token(s, (struct span){auth.at + 7, auth.len - 7}, &end_s, &mask) ||
        end_s <= s->clock.wall_ns / SIM_NS_PER_S) {
        buf__adds(&r->headers, "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n");
        reply_error(r, 401, 8, "Unauthorized");
        return false;
    }
    if ((mask & scope_bit(scope, strlen(scope))) != 0) return true;
    reply_error(r, 403, 6, "Forbidden: the token has not the scope for this resource");
    return false;
}
