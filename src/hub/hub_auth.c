/* Who may do what.
 *
 * A browser tells where a page came from: a request with an Origin that is neither ours nor allowed
 * is refused, whatever else it brings; and so is one without an Origin, as of an <img>, that
 * Sec-Fetch-Site says is of another's page. Then a bearer token, a cookie session or, where that is
 * configured, being on this machine without a proxy in between says who it is. Tokens are compared
 * by their digests in constant time and never logged. */
#include "hub_internal.h"
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/random.h>

/* --- Tokens --- */

/* @return the number of the token that @s is still good for, or 0: it is another, or was allowed
 * more. What has a number of old keeps its sessions. */
static uint64_t number_of(const struct hub *h, const struct hub_secret *s) {
    for (size_t i = 0; i < h->n_secrets; i++) {
        const struct hub_secret *old = &h->secrets[i];
        if (CRYPTO_memcmp(old->digest, s->digest, sizeof s->digest) == 0 &&
            strcmp(old->who.name, s->who.name) == 0 && (s->who.write || !old->who.write))
            return old->who.token;
    }
    return 0;
}

static bool is_good(const void *hub, uint64_t token) {
    const struct hub *h = hub;
    for (size_t i = 0; i < h->n_secrets; i++)
        if (h->secrets[i].who.token == token) return true;
    return token == 0; /* Came without one: of this machine, or with a ticket to come. */
}

static size_t end_passes(const struct hub *h, struct hub_passes *all) {
    size_t n = 0;
    for (size_t i = 0; i < all->max; i++) {
        struct hub_pass *p = &all->at[i];
        if (p->until_mono_ns <= h->clock->mono_ns || is_good(h, p->who.token)) continue;
        p->until_mono_ns = 0;
        n++;
    }
    return n;
}

int hub__set_tokens(struct hub *h, const struct hub_token *tokens, size_t n,
                    struct hub_tokens_change *change, struct err *e) {
    struct hub_secret next[HUB_TOKENS_MAX];
    size_t n_kept = 0;
    if (n > HUB_TOKENS_MAX) return err__setf(e, ERR_CONFIG, "at most %d tokens", HUB_TOKENS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct hub_secret *s = &next[i];
        *s = (struct hub_secret){.who = {.read = true, .write = tokens[i].write}};
        size_t len = strlen(tokens[i].token);
        if (len < 16)
            return err__setf(e, ERR_CONFIG, "token \"%s\" is shorter than 16 characters",
                             tokens[i].name);
        SHA256((const unsigned char *)tokens[i].token, len, s->digest);
        snprintf(s->who.name, sizeof s->who.name, "%s", tokens[i].name);
        s->who.token = number_of(h, s);
        n_kept += s->who.token != 0;
    }
    for (size_t i = 0; i < n; i++)
        if (next[i].who.token == 0) next[i].who.token = ++h->last_token;
    *change = (struct hub_tokens_change){.n_new = n - n_kept, .n_gone = h->n_secrets - n_kept};
    memcpy(h->secrets, next, n * sizeof *next);
    h->n_secrets = n;
    change->n_ended = end_passes(h, &h->tickets) + end_passes(h, &h->cookies) +
                      sessions__end(&h->sessions, is_good, h);
    return 0;
}

/* --- Who asks, and with what --- */

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

static struct hub_pass *find_pass(const struct hub *h, struct hub_passes *all, struct slice id) {
    if (id.len != sizeof all->at->id - 1) return NULL;
    struct hub_pass *found = NULL;
    for (size_t i = 0; i < all->max; i++) {
        struct hub_pass *p = &all->at[i];
        if (p->until_mono_ns > h->clock->mono_ns && CRYPTO_memcmp(p->id, id.base, id.len) == 0)
            found = p;
    }
    return found;
}

void hub__init_passes(struct hub *h) {
    h->tickets = (struct hub_passes){.at = h->ticket_places,
                                     .max = HUB_TICKETS_MAX,
                                     .each_token = HUB_TICKETS_EACH,
                                     .each_address = HUB_TICKETS_EACH,
                                     .life_ns = HUB_TICKET_NS};
    h->cookies = (struct hub_passes){.at = h->session_places,
                                     .max = HUB_SESSIONS_MAX,
                                     .each_token = HUB_SESSIONS_EACH,
                                     .each_address = HUB_SESSIONS_MAX,
                                     .life_ns = HUB_COOKIE_NS};
    static const char *const kinds[] = {"ticket", "session"};
    struct hub_passes *both[] = {&h->tickets, &h->cookies};
    for (size_t i = 0; i < 2; i++) {
        both[i]->m_held =
            metrics__gauge(h->metrics, "souk_hub_passes", "Tickets and sessions that are good now",
                           "kind=\"%s\"", kinds[i]);
        both[i]->m_refused = metrics__counter(h->metrics, "souk_hub_passes_refused_total",
                                              "Tickets and sessions refused by a full table",
                                              "kind=\"%s\"", kinds[i]);
    }
}

static void count_passes(const struct hub *h, struct hub_passes *all) {
    size_t n = 0;
    for (size_t i = 0; i < all->max; i++) n += all->at[i].until_mono_ns > h->clock->mono_ns;
    series__set(all->m_held, (double)n);
}

void hub__count_passes(struct hub *h) {
    count_passes(h, &h->tickets);
    count_passes(h, &h->cookies);
}

/* @return a place for one more pass, NULL when the table or a share of it is full. */
static struct hub_pass *free_place(const struct hub *h, struct hub_passes *all,
                                   const struct principal *who, const char *address) {
    size_t n_token = 0, n_address = 0;
    struct hub_pass *place = NULL;
    for (size_t i = 0; i < all->max; i++) {
        struct hub_pass *p = &all->at[i];
        if (p->until_mono_ns <= h->clock->mono_ns) {
            if (place == NULL) place = p;
            continue;
        }
        n_token += strcmp(p->who.name, who->name) == 0;
        n_address += strcmp(p->address, address) == 0;
    }
    return n_token < all->each_token && n_address < all->each_address ? place : NULL;
}

/* @return seconds until the first of them ends, which makes room if nobody else takes it. */
static int64_t first_end_s(const struct hub *h, const struct hub_passes *all) {
    int64_t first_ns = all->life_ns;
    for (size_t i = 0; i < all->max; i++) {
        int64_t left_ns = all->at[i].until_mono_ns - h->clock->mono_ns;
        if (left_ns > 0 && left_ns < first_ns) first_ns = left_ns;
    }
    return (first_ns + NS_PER_S - 1) / NS_PER_S;
}

const char *hub__issue(struct hub *h, struct web_request *r, const struct principal *who,
                       struct hub_passes *passes) {
    unsigned char bytes[16];
    struct hub_pass *p = free_place(h, passes, who, web_request__peer(r));
    if (p == NULL) {
        series__inc(passes->m_refused);
        char wait_s[24];
        snprintf(wait_s, sizeof wait_s, "%lld", (long long)first_end_s(h, passes));
        web_request__set_header(r, "retry-after", slice__str(wait_s));
        web_request__error(r, 429, "rate_limited",
                           "so many are out already; they end by themselves");
        return NULL;
    }
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        web_request__error(r, 503, "unavailable", "no randomness");
        return NULL;
    }
    *p = (struct hub_pass){.who = *who, .until_mono_ns = h->clock->mono_ns + passes->life_ns};
    snprintf(p->address, sizeof p->address, "%s", web_request__peer(r));
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(p->id + 2 * i, 3, "%02x", bytes[i]);
    return p->id;
}

bool hub__redeem(void *hub, struct slice ticket, struct principal *out) {
    struct hub *h = hub;
    if (!slice__starts(ticket, SLICE_LIT("wst_"))) return false;
    struct hub_pass *p = find_pass(h, &h->tickets, slice__of(ticket.base + 4, ticket.len - 4));
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

const char *hub__session_of(struct hub *h, struct web_request *r, const struct principal *who) {
    struct hub_pass *p = find_pass(h, &h->cookies, cookie_of(r));
    if (p != NULL && p->who.token == who->token && p->who.write == who->write) {
        p->until_mono_ns = h->clock->mono_ns + HUB_COOKIE_NS;
        return p->id;
    }
    /* Who logs in as somebody else has left: what the old cookie may do ends with that. */
    const char *id = hub__issue(h, r, who, &h->cookies);
    if (id != NULL && p != NULL) p->until_mono_ns = 0;
    return id;
}

bool hub__is_from_allowed_page(struct hub *h, struct web_request *r) {
    struct slice origin = web_request__header(r, "origin"),
                 site = web_request__header(r, "sec-fetch-site");
    bool own = site.len == 0 || slice__eq(site, SLICE_LIT("same-origin")) ||
               slice__eq(site, SLICE_LIT("none")); /* None: a person typed the address. */
    if (origin.len > 0 ? is_allowed_origin(h, origin, web_request__host(r)) : own) return true;
    web_request__error(r, 403, "forbidden",
                       origin.len > 0 ? "this origin is not allowed"
                                      : "another site's page may not ask; see hub.allow_origins");
    return false;
}

bool hub__identify(struct hub *h, struct web_request *r, struct principal *who) {
    *who = (struct principal){0};
    struct slice bearer = web_request__header(r, "authorization");
    if (!hub__is_from_allowed_page(h, r)) return false;
    if (bearer.len > 7 && slice__ieq(slice__of(bearer.base, 7), SLICE_LIT("bearer ")))
        find_token(h, slice__trim(slice__of(bearer.base + 7, bearer.len - 7)), who);
    if (who->read) return true;
    struct hub_pass *p = find_pass(h, &h->cookies, cookie_of(r));
    if (p != NULL) {
        *who = p->who;
    } else if (h->options.open_to_local && web_request__is_local(r)) {
        *who = (struct principal){.read = true, .write = true, .name = "local"};
    } else if (h->n_secrets == 0) {
        web_request__error(r, 403, "forbidden",
                           h->options.open_to_local
                               ? "only programs on this machine may ask, and not through a proxy; "
                                 "for others name a hub.tokens_file"
                               : "nobody may ask yet: name a hub.tokens_file, or set "
                                 "hub.open_to_local for the programs of this machine");
        return false;
    }
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
        web_request__error(r, 403, "forbidden",
                           "alerts:write is needed: a token with the word write");
        return false;
    }
    return true;
}
