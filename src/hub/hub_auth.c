/* Who may do what.
 *
 * A browser tells where a page came from: a request with an Origin that is neither ours nor allowed
 * is refused, whatever else it brings. Then a bearer token, a cookie session or, where no tokens
 * are configured, being on this machine says who it is. Tokens are compared by their digests in
 * constant time and never logged. */
#include "hub_internal.h"
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/random.h>

int hub__take_tokens(struct hub *h, const struct hub_options *o, struct err *e) {
    if (o->n_tokens > HUB_TOKENS_MAX)
        return err__setf(e, ERR_CONFIG, "at most %d tokens", HUB_TOKENS_MAX);
    for (size_t i = 0; i < o->n_tokens; i++) {
        struct hub_secret *s = &h->secrets[h->n_secrets++];
        size_t len = strlen(o->tokens[i].token);
        if (len < 16)
            return err__setf(e, ERR_CONFIG, "token \"%s\" is shorter than 16 characters",
                             o->tokens[i].name);
        SHA256((const unsigned char *)o->tokens[i].token, len, s->digest);
        s->who = (struct principal){.read = true, .write = o->tokens[i].write};
        snprintf(s->who.name, sizeof s->who.name, "%s", o->tokens[i].name);
    }
    return 0;
}

static bool is_allowed_origin(const struct hub *h, struct slice origin, struct slice host) {
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);
        if (slice__starts(origin, slice__str(schemes[i])) &&
            slice__ieq(slice__of(origin.base + n, origin.len - n), host))
            return true;
    }
    for (size_t i = 0; i < h->n_origins; i++)
        if (slice__eq(origin, slice__str(h->origins[i]))) return true;
    return false;
}

static bool find_token(const struct hub *h, struct slice token, struct principal *who) {
    unsigned char digest[32];
    bool found = false;
    SHA256((const unsigned char *)token.base, token.len, digest);
    for (size_t i = 0; i < h->n_secrets; i++) /* All of them, found or not. */
        if (CRYPTO_memcmp(digest, h->secrets[i].digest, sizeof digest) == 0) {
            *who = h->secrets[i].who;
            found = true;
        }
    return found;
}

static struct hub_pass *find_pass(struct hub *h, struct slice id, bool is_cookie) {
    if (id.len != sizeof h->passes->id - 1) return NULL;
    struct hub_pass *found = NULL;
    for (size_t i = 0; i < HUB_PASSES_MAX; i++) {
        struct hub_pass *p = &h->passes[i];
        if (p->until_mono_ns > h->clock->mono_ns && p->is_cookie == is_cookie &&
            CRYPTO_memcmp(p->id, id.base, id.len) == 0)
            found = p;
    }
    return found;
}

const char *hub__issue(struct hub *h, const struct principal *who, bool is_cookie) {
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return NULL;
    struct hub_pass *p = &h->passes[h->next_pass++ % HUB_PASSES_MAX]; /* Forgets the oldest. */
    *p = (struct hub_pass){.is_cookie = is_cookie,
                           .who = *who,
                           .until_mono_ns =
                               h->clock->mono_ns + (is_cookie ? HUB_COOKIE_NS : HUB_TICKET_NS)};
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(p->id + 2 * i, 3, "%02x", bytes[i]);
    return p->id;
}

bool hub__redeem(void *hub, struct slice ticket, struct principal *out) {
    if (!slice__starts(ticket, SLICE_LIT("wst_"))) return false;
    struct hub_pass *p = find_pass(hub, slice__of(ticket.base + 4, ticket.len - 4), false);
    if (p == NULL) return false;
    *out = p->who;
    p->until_mono_ns = 0; /* Once. */
    return true;
}

static struct slice cookie_of(const struct web_request *r) {
    struct slice all = web_request__header(r, "cookie");
    static const char name[] = "souk_session=";
    while (all.len > 0) {
        const char *stop = memchr(all.base, ';', all.len);
        size_t n = stop == NULL ? all.len : (size_t)(stop - all.base);
        struct slice one = slice__trim(slice__of(all.base, n));
        if (slice__starts(one, slice__str(name)))
            return slice__of(one.base + sizeof name - 1, one.len - (sizeof name - 1));
        all = slice__of(all.base + n + (stop != NULL), all.len - n - (stop != NULL));
    }
    return (struct slice){0};
}

bool hub__identify(struct hub *h, struct web_request *r, struct principal *who) {
    *who = (struct principal){0};
    struct slice origin = web_request__header(r, "origin"),
                 bearer = web_request__header(r, "authorization");
    if (origin.len > 0 && !is_allowed_origin(h, origin, web_request__host(r))) {
        web_request__error(r, 403, "forbidden", "this origin is not allowed");
        return false;
    }
    if (h->n_secrets == 0) {
        if (!web_request__is_loopback(r)) {
            web_request__error(r, 403, "forbidden",
                               "no tokens are configured, so only this machine may ask");
            return false;
        }
        *who = (struct principal){.read = true, .write = true, .name = "local"};
        return true;
    }
    if (bearer.len > 7 && slice__ieq(slice__of(bearer.base, 7), SLICE_LIT("bearer ")))
        find_token(h, slice__trim(slice__of(bearer.base + 7, bearer.len - 7)), who);
    if (who->read) return true;
    struct hub_pass *p = find_pass(h, cookie_of(r), true);
    if (p != NULL) *who = p->who;
    return true;
}

bool hub__authorize(struct hub *h, struct web_request *r, bool write, struct principal *who) {
    if (!hub__identify(h, r, who)) return false;
    if (!who->read) {
        web_request__set_header(r, "www-authenticate", SLICE_LIT("Bearer"));
        web_request__error(r, 401, "unauthenticated", "a bearer token is needed");
        return false;
    }
    if (write && !who->write) {
        web_request__error(r, 403, "forbidden", "alerts:write is needed");
        return false;
    }
    return true;
}
