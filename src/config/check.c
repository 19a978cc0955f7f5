/* What values mean: ranges, URLs, and what live use asks for. Each message says what to write. */
#include "config_internal.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Bursts of requests are what vendors block for: only a simulator may be asked faster. */
#define LIVE_HOST_GAP_MS_MIN 100
#define CLICKHOUSE_HOSTS_MAX 16 /* What a connection takes. */
#define HUB_ORIGINS_MAX 16      /* What the hub takes. */

static void check_range(struct config_job *job, const char *path, int64_t v, int64_t low,
                        int64_t high) {
    if (v < low || v > high)
        job__errorf(job, job__line(job, path), "%s is %lld (expected %lld to %lld)", path,
                    (long long)v, (long long)low, (long long)high);
}

static void check_positive(struct config_job *job, const char *path, double v, double high) {
    if (!(v > 0 && v <= high))
        job__errorf(job, job__line(job, path), "%s is %g (expected more than 0, at most %g)", path,
                    v, high);
}

static bool is_printable(const char *z) {
    for (; *z != '\0'; z++)
        if ((unsigned char)*z <= 0x20 || (unsigned char)*z >= 0x7f) return false;
    return true;
}

static bool is_url(const char *z) {
    const char *host = strncmp(z, "http://", 7) == 0    ? z + 7
                       : strncmp(z, "https://", 8) == 0 ? z + 8
                                                        : "";
    return host[0] != '\0' && host[0] != '/' && host[0] != ':' && is_printable(z) &&
           strpbrk(z, "\"<>\\^`{|}@?#") == NULL;
}

static void check_url(struct config_job *job, const char *path, const char *z) {
    if (!is_url(z))
        job__errorf(job, job__line(job, path),
                    "%s is \"%.80s\" (expected http://host or https://host)", path, z);
}

/* The hosts whose owners ask for a contact. */
static bool is_vendors(const char *url) {
    static const char *const domains[] = {"pathofexile.com", "poe.ninja", "poecdn.com", "poedb.tw",
                                          "poewiki.net"};
    const char *host = strstr(url, "//");
    if (host == NULL) return false;
    host += 2;
    size_t n = strcspn(host, ":/");
    if (n > 0 && host[n - 1] == '.') n--;
    for (size_t i = 0; i < sizeof domains / sizeof *domains; i++) {
        size_t len = strlen(domains[i]);
        if (n >= len && strncasecmp(host + n - len, domains[i], len) == 0 &&
            (n == len || host[n - len - 1] == '.'))
            return true;
    }
    return false;
}

/* Of this machine: what goes there passes no network. */
static bool is_loopback(const char *url) {
    static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]"};
    const char *host = strstr(url, "//");
    if (host == NULL) return false;
    host += 2;
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (n == strlen(hosts[i]) && strncasecmp(host, hosts[i], n) == 0) return true;
    return false;
}

/* Tokens and the market itself would be anybody's to read and to change on the way. */
static void check_secure(struct config_job *job, const struct config *c, const char *path,
                         const char *url) {
    if (c->live && strncmp(url, "http://", 7) == 0 && !is_loopback(url))
        job__errorf(
            job, job__line(job, path),
            "%s is \"%.80s\" and live is true (expected https://, or a host of this machine)", path,
            url);
}

static void check_upstream(struct config_job *job, const struct config *c, bool enabled,
                           const char *path, const char *url) {
    check_url(job, path, url);
    check_secure(job, c, path, url);
    if (enabled && !c->live && is_vendors(url))
        job__errorf(job, job__line(job, path),
                    "%s is \"%.80s\" and live is false (expected live: true, and agent.contact)",
                    path, url);
}

static bool is_contact(const char *z) {
    const char *at = strchr(z, '@');
    if (strncmp(z, "http", 4) == 0) return is_url(z);
    return is_printable(z) && strpbrk(z, "()") == NULL && at != NULL && at > z &&
           strchr(at + 1, '@') == NULL && strchr(at, '.') != NULL && at[1] != '.';
}

static void check_word(struct config_job *job, const char *path, const char *z) {
    if (z[0] == '\0' || !is_printable(z) || strpbrk(z, "()/") != NULL)
        job__errorf(job, job__line(job, path),
                    "%s is \"%.64s\" (expected a word of printable ASCII without ( ) and /)", path,
                    z);
}

static void check_filled(struct config_job *job, const char *path, const char *z) {
    if (z[0] == '\0')
        job__errorf(job, job__line(job, path), "%s is empty (expected a value)", path);
}

static void check_list(struct config_job *job, const char *path, char *const *list, uint32_t n,
                       bool (*valid)(const char *z), const char *form) {
    for (uint32_t i = 0; i < n; i++) {
        char at[96];
        snprintf(at, sizeof at, "%s[%u]", path, i);
        if (!valid(list[i]))
            job__errorf(job, job__line(job, at), "%s is \"%.64s\" (expected %s)", at, list[i],
                        form);
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(list[i], list[j]) == 0) {
                job__errorf(job, job__line(job, at), "%s: \"%.64s\" is listed twice", at, list[i]);
                break;
            }
    }
}

static bool is_league(const char *z) {
    size_t n = strlen(z);
    for (const char *c = z; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) return false;
    return n > 0 && n < 64 && z[0] != ' ' && z[n - 1] != ' ';
}
static bool is_realm(const char *z) {
    return strcmp(z, "pc") == 0 || strcmp(z, "xbox") == 0 || strcmp(z, "sony") == 0;
}
static bool is_kind(const char *z) {
    static const char *const families[] = {"exchange/", "item/", "currency/"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(families[i]);
        if (strncmp(z, families[i], n) != 0) continue;
        size_t word = strspn(z + n, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
        return word > 0 && word < 32 && z[n + word] == '\0';
    }
    return false;
}
static bool is_start(const char *z) {
    size_t n = strspn(z, "0123456789-");
    return strcmp(z, "head") == 0 || strcmp(z, "oldest") == 0 ||
           (n > 0 && n < 256 && z[n] == '\0' && z[0] != '-' && z[n - 1] != '-');
}
/* A name, or an address in [], then perhaps a colon and a port. */
static bool is_host_port(const char *z) {
    size_t n = z[0] == '[' ? strcspn(z, "]") + 1 : strcspn(z, ":");
    if (n == 0 || n > 255 || (z[0] == '[' && z[n - 1] != ']') || strcspn(z, " \t/@") < n)
        return false;
    int64_t port = 1;
    if (z[n] == '\0') return true;
    return z[n] == ':' && slice__int64(slice__str(z + n + 1), &port) && port >= 1 && port <= 65535;
}

/* What one can listen on; an address of IPv6 may name its interface, as fe80::1%eth0. */
static bool is_address(const char *z) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr out;
    size_t n = strcspn(z, "%");
    if (inet_pton(AF_INET, z, &out) == 1) return true;
    if (n >= sizeof text || (z[n] == '%' && z[n + 1] == '\0') || !is_printable(z + n)) return false;
    snprintf(text, sizeof text, "%.*s", (int)n, z);
    return inet_pton(AF_INET6, text, &out) == 1;
}

static bool is_origin(const char *z) {
    return is_url(z) && strchr(strstr(z, "//") + 2, '/') == NULL;
}

static void check_agent(struct config_job *job, const struct config *c) {
    check_word(job, "agent.project", c->agent.project);
    check_word(job, "agent.version", c->agent.version);
    check_word(job, "agent.client_id", c->agent.client_id);
    if (c->agent.contact[0] != '\0' && !is_contact(c->agent.contact))
        job__errorf(
            job, job__line(job, "agent.contact"),
            "agent.contact is \"%.64s\" (expected you@example.org or https://example.org/you)",
            c->agent.contact);
    /* The vendors ask for it, and block what does not say who it is. */
    if (c->live && c->agent.contact[0] == '\0')
        job__errorf(job, job__line(job, "live"),
                    "live is true and agent.contact is empty (expected your e-mail address or URL, "
                    "as in agent: {contact: you@example.org})");
    for (const char *z = c->user_agent; *z != '\0'; z++)
        if ((unsigned char)*z < 0x20 || (unsigned char)*z >= 0x7f) {
            job__errorf(job, 0, "POE_USER_AGENT is not printable ASCII");
            break;
        }
}

static bool is_resource(const char *z) {
    static const char *const known[] = {"static",  "items",   "stats",
                                        "leagues", "filters", "change-ids"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(z, known[i]) == 0) return true;
    return false;
}
static bool is_exchange_realm(const char *z) { return is_realm(z) || strcmp(z, "poe2") == 0; }
static bool is_enrichment_page(const char *z) {
    size_t n = strncmp(z, "poedb/", 6) == 0 ? 6 : strncmp(z, "wiki/", 5) == 0 ? 5 : 0;
    return n > 0 && z[n] != '\0' && strlen(z) < 64 &&
           strspn(z + n, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") ==
               strlen(z + n);
}
static bool is_scope(const char *z) {
    size_t n = strspn(z, "abcdefghijklmnopqrstuvwxyz_:");
    return n > 0 && n < 64 && z[n] == '\0' && strchr(z, ':') != NULL;
}
static bool is_hour(const char *z) {
    int64_t hour;
    return strcmp(z, "latest") == 0 || strcmp(z, "oldest") == 0 ||
           (slice__int64(slice__str(z), &hour) && hour > 0 && hour % 3600 == 0);
}

static void check_common(struct config_job *job, const struct config *c, const char *name,
                         const struct config_source *s) {
    char path[64];
    snprintf(path, sizeof path, "sources.%s.base_url", name);
    check_upstream(job, c, s->enabled, path, s->base_url);
    snprintf(path, sizeof path, "sources.%s.period_s", name);
    check_positive(job, path, s->period_s, 31 * 86400);
    snprintf(path, sizeof path, "sources.%s.rate_per_s", name);
    check_positive(job, path, s->rate_per_s, 1);
}

static void check_trade_data(struct config_job *job, const struct config *c) {
    const struct config_source *s = &c->sources.trade_data;
    bool resource = strstr(s->path, "{resource}") != NULL,
         cursor = strstr(s->path, "{cursor}") != NULL;
    check_common(job, c, "trade_data", s);
    if (s->path[0] != '/' || resource == cursor || strlen(s->path) > 120 || !is_printable(s->path))
        job__errorf(job, job__line(job, "sources.trade_data.path"),
                    "sources.trade_data.path is \"%.80s\" (expected a path with {resource} or with "
                    "{cursor}, as /api/trade/data/{resource})",
                    s->path);
    check_list(job, "sources.trade_data.resources", s->kinds, s->n_kinds, is_resource,
               "static, items, stats, leagues, filters or change-ids");
    check_positive(job, "sources.trade_data.change_ids_s", s->quick_s, 86400);
}

static void check_more_sources(struct config_job *job, const struct config *c) {
    const struct config_source *x = &c->sources.currency_exchange, *a = &c->sources.account_stashes,
                               *l = &c->sources.leagues, *r = &c->sources.enrichment,
                               *o = &c->sources.oauth;
    check_common(job, c, "currency_exchange", x);
    check_list(job, "sources.currency_exchange.realms", x->realms, x->n_realms, is_exchange_realm,
               "pc, xbox, sony or poe2");
    check_positive(job, "sources.currency_exchange.late_s", x->quick_s, 3600);
    if (!is_hour(x->start))
        job__errorf(job, job__line(job, "sources.currency_exchange.start"),
                    "sources.currency_exchange.start is \"%.40s\" (expected latest, oldest or the "
                    "unix time of an hour, as 1786003200)",
                    x->start);
    check_common(job, c, "account_stashes", a);
    check_list(job, "sources.account_stashes.realms", a->realms, a->n_realms, is_realm,
               "pc, xbox or sony");
    check_list(job, "sources.account_stashes.leagues", a->leagues, a->n_leagues, is_league,
               "a league's name, below 64 bytes");
    check_common(job, c, "leagues", l);
    check_list(job, "sources.leagues.realms", l->realms, l->n_realms, is_realm, "pc, xbox or sony");
    check_common(job, c, "enrichment", r);
    check_upstream(job, c, r->enabled, "sources.enrichment.wiki_url", r->wiki_url);
    check_list(job, "sources.enrichment.pages", r->kinds, r->n_kinds, is_enrichment_page,
               "poedb/ or wiki/ and a page, as poedb/Currency_Exchange");
    /* Also without a secret: souk login asks there. */
    check_upstream(job, c, true, "sources.oauth.base_url", o->base_url);
    check_list(job, "sources.oauth.scopes", o->kinds, o->n_kinds, is_scope,
               "a scope, as service:psapi");
}

static void check_sources(struct config_job *job, const struct config *c) {
    const struct config_psapi *p = &c->sources.psapi;
    const struct config_poe_ninja *n = &c->sources.poe_ninja;
    check_upstream(job, c, p->enabled, "sources.psapi.base_url", p->base_url);
    if (p->seed_url[0] != '\0')
        check_upstream(job, c, p->enabled, "sources.psapi.seed_url", p->seed_url);
    if (!is_start(p->start))
        job__errorf(job, job__line(job, "sources.psapi.start"),
                    "sources.psapi.start is \"%.64s\" (expected head, oldest or a change id)",
                    p->start);
    if (strcmp(p->start, "head") == 0 && p->seed_url[0] == '\0' && p->enabled)
        job__errorf(
            job, job__line(job, "sources.psapi.start"),
            "sources.psapi.start is head and seed_url is empty (expected a seed_url, or oldest)");
    if (p->enabled && p->n_realms == 0)
        job__errorf(job, job__line(job, "sources.psapi.realms"),
                    "sources.psapi.realms is empty (expected pc, xbox or sony)");
    check_list(job, "sources.psapi.realms", p->realms, p->n_realms, is_realm, "pc, xbox or sony");
    check_positive(job, "sources.psapi.period_s", p->period_s, 86400);
    check_positive(job, "sources.psapi.rate_per_s", p->rate_per_s, 10);
    check_range(job, "sources.psapi.hidden_bucket_ms", p->hidden_bucket_ms, 0, 600000);
    check_upstream(job, c, n->enabled, "sources.poe_ninja.base_url", n->base_url);
    check_list(job, "sources.poe_ninja.leagues", n->leagues, n->n_leagues, is_league,
               "a league's name, below 64 bytes");
    check_list(job, "sources.poe_ninja.kinds", n->kinds, n->n_kinds, is_kind,
               "exchange/, item/ or currency/ and a type, as exchange/Currency");
    check_positive(job, "sources.poe_ninja.period_s", n->period_s, 86400);
    if (!(n->rate_per_s > 0 && n->rate_per_s <= 1))
        job__errorf(job, job__line(job, "sources.poe_ninja.rate_per_s"),
                    "sources.poe_ninja.rate_per_s is %g (expected more than 0, at most 1)",
                    n->rate_per_s);
}

static void check_freshness(struct config_job *job, const char *path,
                            const struct config_freshness *f) {
    char at[64];
    snprintf(at, sizeof at, "%s.amber_s", path);
    check_positive(job, at, f->amber_s, 1e6);
    snprintf(at, sizeof at, "%s.red_s", path);
    check_positive(job, at, f->red_s, 1e6);
    if (f->red_s < f->amber_s)
        job__errorf(job, job__line(job, at), "%s is %g (expected at least amber_s, %g)", at,
                    f->red_s, f->amber_s);
}

void config__check(struct config_job *job, const struct config *c) {
    check_agent(job, c);
    check_filled(job, "state_dir", c->state_dir);
    if (!is_printable(c->clickhouse.host) ||
        !(is_host_port(c->clickhouse.host) || is_address(c->clickhouse.host)))
        job__errorf(job, job__line(job, "clickhouse.host"),
                    "clickhouse.host is \"%.64s\" (expected a name or an address)",
                    c->clickhouse.host);
    check_range(job, "clickhouse.port", c->clickhouse.port, 1, 65535);
    check_list(job, "clickhouse.hosts", c->clickhouse.hosts, c->clickhouse.n_hosts, is_host_port,
               "host:port");
    if (c->clickhouse.n_hosts > CLICKHOUSE_HOSTS_MAX)
        job__errorf(job, job__line(job, "clickhouse.hosts"),
                    "clickhouse.hosts has %u entries (expected at most %d)", c->clickhouse.n_hosts,
                    CLICKHOUSE_HOSTS_MAX);
    if (!c->clickhouse.tls.enabled &&
        (!c->clickhouse.tls.verify || c->clickhouse.tls.ca_file[0] != '\0' ||
         c->clickhouse.tls.server_name[0] != '\0'))
        job__errorf(job, job__line(job, "clickhouse.tls"),
                    "clickhouse.tls is described but not enabled (expected enabled: true)");
    check_filled(job, "clickhouse.user", c->clickhouse.user);
    if (c->clickhouse.database[0] == '\0' ||
        strspn(c->clickhouse.database,
               "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") !=
            strlen(c->clickhouse.database))
        job__errorf(job, job__line(job, "clickhouse.database"),
                    "clickhouse.database is \"%.64s\" (expected letters, digits and _)",
                    c->clickhouse.database);
    check_range(job, "spool.quota_mib", c->spool.quota_mib, CONFIG_QUOTA_MIB_MIN, 1 << 24);
    if (!(c->spool.retain_hours >= 0 && c->spool.retain_hours <= 8784))
        job__errorf(job, job__line(job, "spool.retain_hours"),
                    "spool.retain_hours is %g (expected 0 to 8784)", c->spool.retain_hours);
    if (!is_address(c->hub.host))
        job__errorf(job, job__line(job, "hub.host"),
                    "hub.host is \"%.64s\" (expected an IP address, as 127.0.0.1 or ::1)",
                    c->hub.host);
    check_range(job, "hub.port", c->hub.port, 1, 65535);
    check_range(job, "hub.clients_max", c->hub.clients_max, 1, 100000);
    check_range(job, "hub.clients_per_address", c->hub.clients_per_address, 1, 100000);
    check_positive(job, "hub.messages_per_s", c->hub.messages_per_s, 1000);
    check_list(job, "hub.allow_origins", c->hub.allow_origins, c->hub.n_allow_origins, is_origin,
               "an origin, as https://example.org");
    if (c->hub.n_allow_origins > HUB_ORIGINS_MAX)
        job__errorf(job, job__line(job, "hub.allow_origins"),
                    "hub.allow_origins has %u entries (expected at most %d)",
                    (unsigned)c->hub.n_allow_origins, HUB_ORIGINS_MAX);
    check_list(job, "leagues", c->leagues, c->n_leagues, is_league,
               "a league's name, below 64 bytes");
    check_sources(job, c);
    check_trade_data(job, c);
    check_more_sources(job, c);
    check_freshness(job, "alerts.psapi", &c->alerts.psapi);
    check_freshness(job, "alerts.poe_ninja", &c->alerts.poe_ninja);
    check_freshness(job, "alerts.trade_data", &c->alerts.trade_data);
    check_freshness(job, "alerts.currency_exchange", &c->alerts.currency_exchange);
    check_freshness(job, "alerts.account_stashes", &c->alerts.account_stashes);
    check_freshness(job, "alerts.leagues", &c->alerts.leagues);
    check_freshness(job, "alerts.enrichment", &c->alerts.enrichment);
    check_range(job, "limits.host_gap_ms", c->limits.host_gap_ms, 1, 60000);
    check_range(job, "limits.body_mib", c->limits.body_mib, 1, CONFIG_BODY_MIB_MAX);
    if (c->live && c->limits.host_gap_ms < LIVE_HOST_GAP_MS_MIN)
        job__errorf(job, job__line(job, "limits.host_gap_ms"),
                    "limits.host_gap_ms is %lld (expected %d or more when live is true)",
                    (long long)c->limits.host_gap_ms, LIVE_HOST_GAP_MS_MIN);
    if (!(c->limits.vendor_per_s >= (c->live ? 0.001 : 0) &&
          c->limits.vendor_per_s <= (c->live ? 1 : 1000)))
        job__errorf(job, job__line(job, "limits.vendor_per_s"),
                    "limits.vendor_per_s is %g (expected %s)", c->limits.vendor_per_s,
                    c->live ? "0.001 to 1 when live is true" : "0 to 1000");
    check_range(job, "batch.rows", c->batch.rows, 1, 1000000);
    check_range(job, "batch.bytes_mib", c->batch.bytes_mib, 1, 64);
    check_range(job, "batch.age_ms", c->batch.age_ms, 1, 60000);
    check_positive(job, "batch.live_after_s", c->batch.live_after_s, 86400);
    check_range(job, "batch.live_after_mib", c->batch.live_after_mib, 1, 1 << 20);
    check_range(job, "tape.memory_mib", c->tape.memory_mib, 16, 1 << 20);
    check_positive(job, "tape.snapshot_minutes", c->tape.snapshot_minutes, 1440);
    if (c->throttler_url[0] != '\0' && !is_url(c->throttler_url))
        job__errorf(job, 0, "POE_THROTTLER_URL is \"%.80s\" (expected http://host or https://host)",
                    c->throttler_url);
}
