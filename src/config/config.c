/* Loading: check the tree, let libcyaml fill the struct, then defaults, environment, judgement. */
#include "config_internal.h"
#include "souk/core/file.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void job__errorf(struct config_job *job, int line, const char *fmt, ...) {
    struct config_errors *errs = job->errs;
    if (errs->n == CONFIG_ERRORS_MAX) {
        errs->n_more++;
        return;
    }
    char *at = errs->line[errs->n++];
    size_t size = sizeof errs->line[0];
    va_list args;
    va_start(args, fmt);
    int n = line > 0 ? snprintf(at, size, "%.120s:%d: ", job->name, line)
                     : snprintf(at, size, "%.120s: ", job->name);
    vsnprintf(at + n, size - (size_t)n, fmt, args);
    va_end(args);
    for (; *at != '\0'; at++) /* One line each, whatever the file holds. */
        if ((unsigned char)*at < 0x20) *at = ' ';
}

int job__line(const struct config_job *job, const char *path) {
    for (size_t i = 0; i < job->n_places; i++)
        if (strcmp(job->places[i].path, path) == 0) return job->places[i].line;
    return 0;
}

static void *on_memory(void *ctx, void *ptr, size_t size) {
    (void)ctx;
    if (size > 0) return realloc(ptr, size);
    free(ptr);
    return NULL;
}

static void on_cyaml_log(cyaml_log_t level, void *ctx, const char *fmt, va_list args) {
    char text[200];
    if (level < CYAML_LOG_ERROR) return;
    vsnprintf(text, sizeof text, fmt, args);
    if (ctx != NULL) job__errorf(ctx, 0, "%s", text);
}

static cyaml_config_t cyaml_config(struct config_job *job) {
    return (cyaml_config_t){.log_fn = on_cyaml_log,
                            .log_ctx = job,
                            .mem_fn = on_memory,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = CYAML_CFG_NO_ALIAS | CYAML_CFG_STYLE_BLOCK};
}

/* Defaults, told apart from values that equal zero by whether the file has the path. */
static bool set_str(char **field, const char *value) {
    char *copy = strdup(value);
    if (copy == NULL) return false;
    free(*field);
    *field = copy;
    return true;
}
static bool fill_str(char **field, const char *value) {
    return *field != NULL || set_str(field, value);
}
static void fill_int(const struct config_job *job, const char *path, int64_t *field,
                     int64_t value) {
    if (job__line(job, path) == 0) *field = value;
}
static void fill_num(const struct config_job *job, const char *path, double *field, double value) {
    if (job__line(job, path) == 0) *field = value;
}
static bool fill_list(const struct config_job *job, const char *path, char ***list, uint32_t *n,
                      const char *const *values, uint32_t n_values) {
    if (job__line(job, path) != 0) return true;
    *list = calloc(n_values, sizeof **list);
    if (*list == NULL) return false;
    for (*n = 0; *n < n_values; ++*n)
        if (((*list)[*n] = strdup(values[*n])) == NULL) return false;
    return true;
}

#define SIMULATOR_URL "http://127.0.0.1:8787"

static const char *exchange_url(const struct config *c) {
    bool oauth = c->sources.currency_exchange.form == CONFIG_OAUTH;
    if (!c->live) return oauth ? SIMULATOR_URL : SIMULATOR_URL "/api";
    return oauth ? "https://api.pathofexile.com" : "https://web.poecdn.com/api";
}

static const char *leagues_url(const struct config *c) {
    bool oauth = c->sources.leagues.form == CONFIG_OAUTH;
    if (!c->live) return oauth ? SIMULATOR_URL : SIMULATOR_URL "/api";
    return oauth ? "https://api.pathofexile.com" : "https://www.pathofexile.com/api";
}

/* Without live the real upstreams are nobody's default: they ask for a contact. */
static bool fill_strings(struct config *c) {
    struct {
        char **field;
        const char *value;
    } table[] = {
        {&c->agent.project, "souk"},
        {&c->agent.version, SOUK_VERSION},
        {&c->agent.contact, ""},
        {&c->agent.client_id, c->agent.project == NULL ? "souk" : c->agent.project},
        {&c->state_dir, "state"},
        {&c->clickhouse.host, "127.0.0.1"},
        {&c->clickhouse.user, "default"},
        {&c->clickhouse.password, ""},
        {&c->clickhouse.password_file, ""},
        {&c->clickhouse.tls.ca_file, ""},
        {&c->clickhouse.tls.server_name, ""},
        {&c->clickhouse.database, "poe_trade"},
        {&c->hub.host, "127.0.0.1"},
        {&c->hub.tokens_file, ""},
        {&c->sources.psapi.base_url, c->live ? "https://api.pathofexile.com" : SIMULATOR_URL},
        {&c->sources.psapi.seed_url, c->live ? "https://www.pathofexile.com" : SIMULATOR_URL},
        {&c->sources.psapi.start, "head"},
        {&c->sources.psapi.token_env, ""},
        {&c->sources.poe_ninja.base_url, c->live ? "https://poe.ninja" : SIMULATOR_URL},
        {&c->sources.trade_data.base_url, c->live ? "https://www.pathofexile.com" : SIMULATOR_URL},
        {&c->sources.trade_data.path, "/api/trade/data/{resource}"},
        {&c->sources.currency_exchange.base_url, exchange_url(c)},
        {&c->sources.currency_exchange.start, "latest"},
        {&c->sources.account_stashes.base_url,
         c->live ? "https://api.pathofexile.com" : SIMULATOR_URL},
        {&c->sources.leagues.base_url, leagues_url(c)},
        {&c->sources.enrichment.base_url,
         c->live ? "https://poedb.tw/us" : SIMULATOR_URL "/poedb/us"},
        {&c->sources.enrichment.wiki_url,
         c->live ? "https://www.poewiki.net/w" : SIMULATOR_URL "/wiki/w"},
        {&c->sources.oauth.base_url, c->live ? "https://www.pathofexile.com" : SIMULATOR_URL},
        {&c->client_secret, ""},
        {&c->throttler_url, ""},
        {&c->throttler_api_key, ""},
        {&c->psapi_token, ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (!fill_str(table[i].field, table[i].value)) return false;
    return true;
}

struct source_defaults {
    const char *name;
    struct config_source *source;
    struct config_freshness *fresh;
    double period_s, rate_per_s, amber_s, red_s;
};

/* What the upstreams ask for or are content with. These sources are off until they are switched on:
 * nobody's vendor is asked for more because souk is newer. */
static void fill_sources(const struct config_job *job, struct config *c) {
    struct source_defaults table[] = {
        {"trade_data", &c->sources.trade_data, &c->alerts.trade_data, 21600, 0.2, 43200, 86400},
        {"currency_exchange", &c->sources.currency_exchange, &c->alerts.currency_exchange, 3600,
         0.5, 3900, 7800},
        {"account_stashes", &c->sources.account_stashes, &c->alerts.account_stashes, 3600, 0.1,
         7200, 14400},
        {"leagues", &c->sources.leagues, &c->alerts.leagues, 86400, 0.1, 172800, 345600},
        {"enrichment", &c->sources.enrichment, &c->alerts.enrichment, 86400, 0.05, 172800, 604800}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct source_defaults *d = &table[i];
        char path[64];
#define PATH(where, key) (snprintf(path, sizeof path, where ".%s." key, d->name), path)
        fill_num(job, PATH("sources", "period_s"), &d->source->period_s, d->period_s);
        fill_num(job, PATH("sources", "rate_per_s"), &d->source->rate_per_s, d->rate_per_s);
        fill_num(job, PATH("alerts", "amber_s"), &d->fresh->amber_s, d->amber_s);
        fill_num(job, PATH("alerts", "red_s"), &d->fresh->red_s, d->red_s);
#undef PATH
    }
    fill_num(job, "sources.trade_data.change_ids_s", &c->sources.trade_data.quick_s, 60);
    fill_num(job, "sources.currency_exchange.late_s", &c->sources.currency_exchange.quick_s, 180);
}

static bool fill_source_lists(const struct config_job *job, struct config *c) {
    static const char *const leagues[] = {"Standard"}, *const realms[] = {"pc"},
                             *const resources[] = {"static",  "items",   "stats",
                                                   "leagues", "filters", "change-ids"},
                             *const pages[] = {"poedb/Currency_Exchange", "wiki/mods"},
                             *const scopes[] = {"service:psapi", "service:cxapi", "service:leagues",
                                                "account:stashes"};
#define LIST_OF(source, key, list, values)                                                         \
    fill_list(job, "sources." #source "." key, &c->sources.source.list,                            \
              &c->sources.source.n_##list, values, sizeof values / sizeof *values)
    return LIST_OF(trade_data, "resources", kinds, resources) &&
           LIST_OF(currency_exchange, "realms", realms, realms) &&
           LIST_OF(account_stashes, "realms", realms, realms) &&
           LIST_OF(account_stashes, "leagues", leagues, leagues) &&
           LIST_OF(leagues, "realms", realms, realms) &&
           LIST_OF(enrichment, "pages", kinds, pages) && LIST_OF(oauth, "scopes", kinds, scopes);
#undef LIST_OF
}

static bool fill_defaults(const struct config_job *job, struct config *c) {
    static const char *const leagues[] = {"Standard"}, *const realms[] = {"pc"},
                             *const kinds[] = {"exchange/Currency"};
    struct config_psapi *p = &c->sources.psapi;
    struct config_poe_ninja *n = &c->sources.poe_ninja;
    if (job__line(job, "log.level") == 0) c->log.level = CONFIG_LOG_INFO;
    if (job__line(job, "clickhouse.compression") == 0)
        c->clickhouse.compression = CONFIG_COMPRESSION_LZ4;
    if (job__line(job, "sources.psapi.enabled") == 0) p->enabled = true;
    if (job__line(job, "sources.poe_ninja.enabled") == 0) n->enabled = true;
    if (job__line(job, "tape.enabled") == 0) c->tape.enabled = true;
    if (job__line(job, "clickhouse.tls.verify") == 0) c->clickhouse.tls.verify = true;
    fill_int(job, "clickhouse.port", &c->clickhouse.port, c->clickhouse.tls.enabled ? 9440 : 9000);
    fill_int(job, "spool.quota_mib", &c->spool.quota_mib, 4096);
    fill_num(job, "spool.retain_hours", &c->spool.retain_hours, 24);
    fill_int(job, "hub.port", &c->hub.port, 8686);
    if (job__line(job, "hub.open_metrics") == 0) c->hub.open_metrics = true;
    fill_int(job, "hub.clients_max", &c->hub.clients_max, 2000);
    fill_int(job, "hub.clients_per_address", &c->hub.clients_per_address, 64);
    fill_num(job, "hub.messages_per_s", &c->hub.messages_per_s, 5);
    fill_num(job, "sources.psapi.period_s", &p->period_s, 10);
    fill_num(job, "sources.psapi.rate_per_s", &p->rate_per_s, 1);
    fill_int(job, "sources.psapi.hidden_bucket_ms", &p->hidden_bucket_ms, 5000);
    fill_num(job, "sources.poe_ninja.period_s", &n->period_s, 60);
    fill_num(job, "sources.poe_ninja.rate_per_s", &n->rate_per_s, 0.8);
    fill_num(job, "alerts.psapi.amber_s", &c->alerts.psapi.amber_s, 20);
    fill_num(job, "alerts.psapi.red_s", &c->alerts.psapi.red_s, 60);
    fill_num(job, "alerts.poe_ninja.amber_s", &c->alerts.poe_ninja.amber_s, 180);
    fill_num(job, "alerts.poe_ninja.red_s", &c->alerts.poe_ninja.red_s, 600);
    fill_sources(job, c);
    fill_int(job, "batch.rows", &c->batch.rows, 50000);
    fill_int(job, "batch.bytes_mib", &c->batch.bytes_mib, 8);
    fill_int(job, "batch.age_ms", &c->batch.age_ms, 12000);
    fill_num(job, "batch.live_after_s", &c->batch.live_after_s, 30);
    fill_int(job, "batch.live_after_mib", &c->batch.live_after_mib, 32);
    fill_int(job, "limits.host_gap_ms", &c->limits.host_gap_ms, 250);
    fill_int(job, "limits.body_mib", &c->limits.body_mib, 32);
    fill_num(job, "limits.vendor_per_s", &c->limits.vendor_per_s, c->live ? 0.95 : 0);
    fill_int(job, "tape.memory_mib", &c->tape.memory_mib, 1024);
    fill_num(job, "tape.snapshot_minutes", &c->tape.snapshot_minutes, 10);
    return fill_strings(c) && fill_list(job, "leagues", &c->leagues, &c->n_leagues, leagues, 1) &&
           fill_list(job, "sources.psapi.realms", &p->realms, &p->n_realms, realms, 1) &&
           fill_list(job, "sources.poe_ninja.leagues", &n->leagues, &n->n_leagues, leagues, 1) &&
           fill_list(job, "sources.poe_ninja.kinds", &n->kinds, &n->n_kinds, kinds, 1) &&
           fill_source_lists(job, c);
}

static void read_password(struct config_job *job, struct config *c) {
    char text[1024];
    const char *path = c->clickhouse.password_file;
    int line = job__line(job, "clickhouse.password_file");
    if (path[0] == '\0') return;
    if (job__line(job, "clickhouse.password") != 0 && c->clickhouse.password[0] != '\0') {
        job__errorf(job, line, "clickhouse has both password and password_file (expected one)");
        return;
    }
    ssize_t n = file__read(path, text, sizeof text - 1);
    if (n < 0)
        job__errorf(job, line, "clickhouse.password_file \"%.100s\": %s", path,
                    file__strerror(errno));
    else if (n == sizeof text - 1)
        job__errorf(job, line, "clickhouse.password_file \"%.100s\" is over 1022 bytes", path);
    text[n < 0 ? 0 : n] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (!set_str(&c->clickhouse.password, text)) job__errorf(job, line, "out of memory");
}

/* One host from the environment takes the place of the file's list. */
static void override_hosts(const struct config_job *job, struct config *c) {
    const char *host = job->env("CH_HOST");
    if (host == NULL || host[0] == '\0') return;
    for (uint32_t i = 0; i < c->clickhouse.n_hosts; i++) free(c->clickhouse.hosts[i]);
    c->clickhouse.n_hosts = 0;
}

static bool apply_env(struct config_job *job, struct config *c) {
    struct {
        const char *name;
        char **field;
    } table[] = {{"CH_HOST", &c->clickhouse.host},
                 {"CH_USER", &c->clickhouse.user},
                 {"CH_PASSWORD", &c->clickhouse.password},
                 {"CH_DATABASE", &c->clickhouse.database},
                 {"POE_CLIENT_ID", &c->agent.client_id},
                 {"POE_CLIENT_SECRET", &c->client_secret},
                 {"POE_CURSOR_DIR", &c->state_dir},
                 {"POE_THROTTLER_URL", &c->throttler_url},
                 {"THROTTLER_API_KEY", &c->throttler_api_key},
                 {c->sources.psapi.token_env, &c->psapi_token}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *value = table[i].name[0] == '\0' ? NULL : job->env(table[i].name);
        if (value != NULL && value[0] != '\0' && !set_str(table[i].field, value)) return false;
    }
    override_hosts(job, c);
    /* A password from the environment is not to be replaced by what the file says later. */
    const char *password = job->env("CH_PASSWORD"), *port = job->env("CH_PORT");
    if (password != NULL && password[0] != '\0' && !set_str(&c->clickhouse.password_file, ""))
        return false;
    if (port != NULL && port[0] != '\0' &&
        (!slice__int64(slice__str(port), &c->clickhouse.port) || c->clickhouse.port < 1 ||
         c->clickhouse.port > 65535)) {
        job__errorf(job, 0, "CH_PORT is \"%.40s\" (expected 1 to 65535)", port);
        c->clickhouse.port = 9000;
    }
    return true;
}

/* The vendors' form: OAuth {client}/{version} (contact: {contact}), then who makes the request. */
static bool build_agent(const struct config_job *job, struct config *c) {
    const char *given = job->env("POE_USER_AGENT");
    char text[4096];
    if (given == NULL || given[0] == '\0') {
        snprintf(text, sizeof text, "OAuth %s/%s (contact: %s) souk/" SOUK_VERSION,
                 c->agent.client_id, c->agent.version, c->agent.contact);
        given = text;
    }
    return set_str(&c->user_agent, given);
}

static void strip_slashes(char *url) {
    for (size_t n = strlen(url); n > 0 && url[n - 1] == '/'; n--) url[n - 1] = '\0';
}

static int fill(struct config_job *job, struct config *c) {
    if (!fill_defaults(job, c)) return ERR_NOMEM;
    read_password(job, c);
    if (!apply_env(job, c) || !build_agent(job, c)) return ERR_NOMEM;
    strip_slashes(c->sources.psapi.base_url);
    strip_slashes(c->sources.psapi.seed_url);
    strip_slashes(c->sources.poe_ninja.base_url);
    strip_slashes(c->sources.trade_data.base_url);
    strip_slashes(c->sources.currency_exchange.base_url);
    strip_slashes(c->sources.account_stashes.base_url);
    strip_slashes(c->sources.leagues.base_url);
    strip_slashes(c->sources.enrichment.base_url);
    strip_slashes(c->sources.enrichment.wiki_url);
    strip_slashes(c->sources.oauth.base_url);
    config__check(job, c);
    return job->errs->n > 0 ? ERR_CONFIG : 0;
}

static const char *process_env(const char *name) { return getenv(name); }

int config__parse(const char *name, struct slice text, config_env env, struct config **out,
                  struct config_errors *errs) {
    struct config_job job = {.name = name, .env = env == NULL ? process_env : env, .errs = errs};
    struct buf checked = buf__init(4 * CONFIG_BYTES_MAX);
    struct config *c = NULL;
    int rc = 0;
    *out = NULL;
    *errs = (struct config_errors){0};
    if (text.len > CONFIG_BYTES_MAX) {
        job__errorf(&job, 0, "the file is over %zu bytes", CONFIG_BYTES_MAX);
        return ERR_LIMIT;
    }
    job.places = calloc(CONFIG_NODES_MAX, sizeof *job.places);
    rc = job.places == NULL ? ERR_NOMEM : tree__check(&job, text, &checked);
    if (rc == 0) {
        cyaml_config_t config = cyaml_config(&job);
        cyaml_err_t code = cyaml_load_data((const uint8_t *)checked.base, checked.len, &config,
                                           &config_schema, (cyaml_data_t **)&c, NULL);
        if (code == CYAML_ERR_OOM) rc = ERR_NOMEM;
        else if (code != CYAML_OK) rc = ERR_CONFIG;
        if (rc == 0 && c == NULL && (c = calloc(1, sizeof *c)) == NULL) rc = ERR_NOMEM;
        if (rc == ERR_CONFIG && errs->n == 0) job__errorf(&job, 0, "%s", cyaml_strerror(code));
    }
    if (rc == 0) rc = fill(&job, c);
    if (rc == ERR_NOMEM && errs->n == 0) job__errorf(&job, 0, "out of memory");
    buf__fini(&checked);
    for (size_t i = 0; i < job.n_places; i++) free(job.places[i].path);
    free(job.places);
    if (rc != 0) config__free(c);
    else *out = c;
    return rc;
}

int config__load(const char *path, struct config **out, struct config_errors *errs) {
    struct config_job job = {.name = path, .errs = errs};
    *out = NULL;
    *errs = (struct config_errors){0};
    char *bytes = malloc(CONFIG_BYTES_MAX + 1);
    ssize_t n = bytes == NULL ? 0 : file__read(path, bytes, CONFIG_BYTES_MAX + 1);
    int rc = bytes == NULL ? ERR_NOMEM : n >= 0 ? 0 : errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    if (rc != 0)
        job__errorf(&job, 0, "%s", rc == ERR_NOMEM ? "out of memory" : file__strerror(errno));
    if (rc == 0) rc = config__parse(path, slice__of(bytes, (size_t)n), NULL, out, errs);
    free(bytes);
    return rc;
}

void config__free(struct config *c) {
    if (c == NULL) return;
    cyaml_config_t config = cyaml_config(NULL);
    free(c->client_secret);
    free(c->throttler_url);
    free(c->throttler_api_key);
    free(c->psapi_token);
    free(c->user_agent);
    cyaml_free(&config, &config_schema, c, 0);
}

/* A value that has ${ came from the environment or from $${: reading must not replace it again. */
static bool append_literally(struct buf *out, struct slice text) {
    bool fits = true;
    for (const char *hit; fits && (hit = memmem(text.base, text.len, "${", 2)) != NULL;) {
        size_t n = (size_t)(hit - text.base);
        fits = buf__append(out, text.base, n) && buf__append(out, "$${", 3);
        text = slice__of(hit + 2, text.len - n - 2);
    }
    return fits && buf__append(out, text.base, text.len);
}

/* libcyaml writes 0.8 as 8.0000000000000004e-01: 15 digits say the same to people, and read as the
 * same number. */
static bool append_line(struct buf *out, struct slice line) {
    static const char form[] = "0.0000000000000000e+00";
    const size_t n = sizeof form - 1;
    char number[32], *end;
    const char *colon = memchr(line.base, ':', line.len);
    size_t at = colon == NULL ? line.len : (size_t)(colon - line.base) + 2;
    if (line.len != at + n || line.base[at + 1] != '.' || line.base[at + n - 4] != 'e')
        return append_literally(out, line);
    memcpy(number, line.base + at, n);
    number[n] = '\0';
    double value = strtod(number, &end);
    if (*end != '\0') return append_literally(out, line);
    snprintf(number, sizeof number, "%.15g", value);
    if (strtod(number, NULL) != value) snprintf(number, sizeof number, "%.17g", value);
    return buf__append(out, line.base, at) && buf__append_str(out, number);
}

static bool append_lines(struct buf *out, struct slice text) {
    bool fits = true;
    while (fits && text.len > 0) {
        const char *end = memchr(text.base, '\n', text.len);
        size_t n = end == NULL ? text.len : (size_t)(end - text.base);
        fits =
            append_line(out, slice__of(text.base, n)) && (end == NULL || buf__append(out, "\n", 1));
        n += end != NULL;
        text = slice__of(text.base + n, text.len - n);
    }
    return fits;
}

int config__print(const struct config *c, struct buf *out) {
    static char masked[] = "***", nothing[] = "";
    cyaml_config_t config = cyaml_config(NULL);
    struct config shown = *c; /* Shares the pointers; only the secret differs. */
    char *text = NULL;
    size_t len = 0;
    if (shown.clickhouse.password[0] != '\0') {
        shown.clickhouse.password = masked;
        shown.clickhouse.password_file = nothing; /* It was read: both at once would not load. */
    }
    /* libcyaml leaves out lists without memory, but empty is not the default of all of them. */
    static char *none[1];
    char ***lists[] = {&shown.leagues,
                       &shown.clickhouse.hosts,
                       &shown.hub.allow_origins,
                       &shown.sources.psapi.realms,
                       &shown.sources.poe_ninja.leagues,
                       &shown.sources.poe_ninja.kinds,
                       &shown.sources.trade_data.kinds,
                       &shown.sources.currency_exchange.realms,
                       &shown.sources.account_stashes.realms,
                       &shown.sources.account_stashes.leagues,
                       &shown.sources.leagues.realms,
                       &shown.sources.enrichment.kinds,
                       &shown.sources.oauth.kinds};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        if (*lists[i] == NULL) *lists[i] = none;
    cyaml_err_t code = cyaml_save_data(&text, &len, &config, &config_schema, &shown, 0);
    if (code != CYAML_OK) return ERR_NOMEM;
    bool fits = append_lines(out, slice__of(text, len));
    free(text);
    return fits ? 0 : ERR_FULL;
}
