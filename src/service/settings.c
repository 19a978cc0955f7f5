/* From the configuration's words to the rooms' settings. */
#include "settings.h"
#include "souk/core/file.h"
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#define TOKEN_FILE_MAX ((size_t)64 << 10)
#define TOKEN_MIN 16

static int64_t ns_of(double seconds) { return (int64_t)(seconds * (double)NS_PER_S); }

/* Nothing is NULL, and what a source has no use for is empty. */
static const struct source_settings no_settings = {.base_url = "",
                                                   .seed_url = "",
                                                   .other_url = "",
                                                   .path = "",
                                                   .start = "",
                                                   .client_id = "",
                                                   .client_secret = "",
                                                   .login = "",
                                                   .account = ""};

static void set_up_psapi(struct source_setup *out, const struct config *c) {
    const struct config_psapi *p = &c->sources.psapi;
    *out = (struct source_setup){.name = "psapi",
                                 .enabled = p->enabled,
                                 .rate_per_s = p->rate_per_s,
                                 .hidden_bucket_ns = p->hidden_bucket_ms * NS_PER_MS,
                                 .amber_s = c->alerts.psapi.amber_s,
                                 .red_s = c->alerts.psapi.red_s,
                                 .token = c->psapi_token,
                                 .settings = no_settings};
    struct source_settings *s = &out->settings;
    s->base_url = p->base_url;
    s->seed_url = p->seed_url;
    s->start = p->start;
    s->realms = (const char *const *)p->realms;
    s->n_realms = p->n_realms;
    s->leagues = (const char *const *)c->leagues;
    s->n_leagues = c->n_leagues;
    s->period_ns = ns_of(p->period_s);
    s->use_oauth = c->live || p->token_env[0] != '\0' || c->client_secret[0] != '\0';
}

static void set_up_poe_ninja(struct source_setup *out, const struct config *c) {
    const struct config_poe_ninja *p = &c->sources.poe_ninja;
    *out = (struct source_setup){
        .name = "poe_ninja",
        .enabled = p->enabled,
        .rate_per_s = p->rate_per_s,
        .key_gap_ns =
            60 * NS_PER_S, /* Once per league and type in a minute, whatever the period. */
        .amber_s = c->alerts.poe_ninja.amber_s,
        .red_s = c->alerts.poe_ninja.red_s,
        .token = "",
        .settings = no_settings};
    struct source_settings *s = &out->settings;
    s->base_url = p->base_url;
    s->leagues = (const char *const *)p->leagues;
    s->n_leagues = p->n_leagues;
    s->kinds = (const char *const *)p->kinds;
    s->n_kinds = p->n_kinds;
    s->period_ns = ns_of(p->period_s);
}

static void set_up(struct source_setup *out, const struct config *config, const char *name,
                   const struct config_source *c, const struct config_freshness *fresh) {
    *out = (struct source_setup){.name = name,
                                 .enabled = c->enabled,
                                 .rate_per_s = c->rate_per_s,
                                 .amber_s = fresh->amber_s,
                                 .red_s = fresh->red_s,
                                 .token = "",
                                 .settings = no_settings};
    struct source_settings *s = &out->settings;
    s->base_url = c->base_url;
    if (c->wiki_url != NULL) s->other_url = c->wiki_url;
    if (c->path != NULL) s->path = c->path;
    if (c->start != NULL) s->start = c->start;
    s->realms = (const char *const *)c->realms;
    s->n_realms = c->n_realms;
    s->leagues = (const char *const *)c->leagues;
    s->n_leagues = c->n_leagues;
    s->kinds = (const char *const *)c->kinds;
    s->n_kinds = c->n_kinds;
    s->period_ns = ns_of(c->period_s);
    s->quick_ns = ns_of(c->quick_s);
    s->use_oauth = c->form == CONFIG_OAUTH || strcmp(name, "account_stashes") == 0;
    s->client_id = config->agent.client_id;
}

/* Tokens are asked for when there is a secret to ask with; a scope once a week, whoever needs it.
 */
static void set_up_oauth(struct source_setup *out, const struct config *c) {
    static const struct config_freshness never = {.amber_s = 8 * 86400, .red_s = 15 * 86400};
    set_up(out, c, "oauth", &c->sources.oauth, &never);
    out->enabled = c->client_secret[0] != '\0';
    out->rate_per_s = 0.2;
    out->settings.period_ns = 7 * 86400 * NS_PER_S;
    out->settings.client_secret = c->client_secret;
}

/* One token: name, token and, if it may change things, the word write. */
static int take_token(struct settings *s, const char *path, int line, char *text, struct err *e) {
    char *save = NULL, *name = strtok_r(text, " \t\r", &save);
    if (name == NULL || name[0] == '#') return 0;
    char *token = strtok_r(NULL, " \t\r", &save), *scope = strtok_r(NULL, " \t\r", &save);
    bool write = scope != NULL && strcmp(scope, "write") == 0;
    bool more = scope != NULL && strtok_r(NULL, " \t\r", &save) != NULL;
    if (token == NULL || (scope != NULL && !write) || more || strlen(token) < TOKEN_MIN)
        return err__setf(e, ERR_CONFIG,
                         "%s:%d: expected: name token [write], the token %d characters or more",
                         path, line, TOKEN_MIN);
    /* Who did what is told by the name, and whose sessions end by the token: neither may be two's.
     */
    if (strlen(name) > HUB_TOKEN_NAME_MAX)
        return err__setf(e, ERR_CONFIG, "%s:%d: the name has more than %d bytes", path, line,
                         HUB_TOKEN_NAME_MAX);
    for (size_t i = 0; i < s->n_tokens; i++)
        if (strcmp(s->tokens[i].name, name) == 0 || strcmp(s->tokens[i].token, token) == 0)
            return err__setf(e, ERR_CONFIG, "%s:%d: %s is there already (expected one line each)",
                             path, line,
                             strcmp(s->tokens[i].name, name) == 0 ? "the name" : "the token");
    if (s->n_tokens == HUB_TOKENS_MAX)
        return err__setf(e, ERR_CONFIG, "%s:%d: more than %d tokens", path, line, HUB_TOKENS_MAX);
    s->tokens[s->n_tokens++] = (struct hub_token){.name = name, .token = token, .write = write};
    return 0;
}

static int load_tokens(struct settings *s, const char *path, struct err *e) {
    if (path[0] == '\0') return 0;
    s->token_text = calloc(1, TOKEN_FILE_MAX + 1);
    if (s->token_text == NULL) return err__setf(e, ERR_NOMEM, "hub.tokens_file: out of memory");
    ssize_t n = file__read(path, s->token_text, TOKEN_FILE_MAX);
    if (n < 0)
        return err__setf(e, ERR_CONFIG, "hub.tokens_file %s cannot be read: %s", path,
                         file__strerror(errno));
    if (n == 0 || n == TOKEN_FILE_MAX || strlen(s->token_text) != (size_t)n)
        return err__setf(e, ERR_CONFIG, "hub.tokens_file %s: expected 1 to %zu bytes of text", path,
                         TOKEN_FILE_MAX);
    int line = 1, code = 0;
    for (char *at = s->token_text, *end; code == 0 && *at != '\0'; at = end, line++) {
        end = at + strcspn(at, "\n");
        if (*end == '\n') *end++ = '\0';
        code = take_token(s, path, line, at, e);
    }
    /* Somebody meant to let people in, and nobody could come: said at the start, not by refusals.
     */
    if (code == 0 && s->n_tokens == 0)
        code = err__setf(e, ERR_CONFIG, "hub.tokens_file %s holds no token", path);
    return code;
}

int settings__init(struct settings *s, struct config *config, struct err *e) {
    *s = (struct settings){.config = config};
    const struct {
        const char *name;
        const struct config_source *source;
        const struct config_freshness *fresh;
    } table[] = {
        {"account_stashes", &config->sources.account_stashes, &config->alerts.account_stashes},
        {"currency_exchange", &config->sources.currency_exchange,
         &config->alerts.currency_exchange},
        {"enrichment", &config->sources.enrichment, &config->alerts.enrichment},
        {"leagues", &config->sources.leagues, &config->alerts.leagues},
        {"trade_data", &config->sources.trade_data, &config->alerts.trade_data}};
    set_up_oauth(&s->sources[s->n_sources++], config);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        set_up(&s->sources[s->n_sources++], config, table[i].name, table[i].source, table[i].fresh);
    set_up_poe_ninja(&s->sources[s->n_sources++], config);
    set_up_psapi(&s->sources[s->n_sources++], config);
    return load_tokens(s, config->hub.tokens_file, e);
}

int settings__private_oauth(const struct config *c, struct err *e) {
    static const char *const own[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
    const char *url = c->sources.oauth.base_url;
    if (strncmp(url, "https://", 8) == 0) return 0;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        size_t n = strlen(own[i]);
        if (strncmp(url, own[i], n) == 0 && strchr(":/", url[n]) != NULL) return 0;
    }
    return err__setf(e, ERR_CONFIG, "sources.oauth.base_url is %.80s (expected https)", url);
}

int settings__take_login(struct settings *s, struct login_file *login, struct err *e) {
    if (login->id[0] == '\0' || strcmp(login->client_id, s->config->agent.client_id) != 0)
        return err__setf(e, ERR_REFUSED, "it is of client id %s, which is not agent.client_id",
                         login->client_id);
    if (settings__private_oauth(s->config, e) != 0) {
        e->code = ERR_REFUSED;
        return ERR_REFUSED;
    }
    s->login = login;
    for (size_t i = 0; i < s->n_sources; i++) {
        struct source_setup *c = &s->sources[i];
        if (strcmp(c->name, "account_stashes") == 0) c->settings.account = login->username;
        if (strcmp(c->name, "oauth") != 0) continue;
        c->settings.login = login->id;
        c->enabled = true;
    }
    return 0;
}

static bool matches(const char *name, const char *globs) {
    char glob[64];
    for (const char *at = globs; *at != '\0';) {
        size_t n = strcspn(at, ",");
        bool fits = n < sizeof glob; /* No source has so long a name. */
        if (fits) snprintf(glob, sizeof glob, "%.*s", (int)n, at);
        if (fits && fnmatch(glob, name, 0) == 0) return true;
        at += n + (at[n] == ',');
    }
    return false;
}

/* The first of @globs that no source matches, or NULL. Borrowed, up to a comma. */
static const char *find_unmatched(const struct settings *s, const char *globs) {
    char one[64];
    if (globs[0] == '\0') return globs;
    for (const char *at = globs; *at != '\0';) {
        size_t n = strcspn(at, ",");
        bool any = false;
        snprintf(one, sizeof one, "%.*s", (int)n, at);
        for (size_t i = 0; i < s->n_sources && n > 0 && n < sizeof one; i++)
            any |= matches(s->sources[i].name, one);
        if (!any) return at;
        at += n + (at[n] == ',');
    }
    return NULL;
}

int settings__select(struct settings *s, const char *globs, struct err *e) {
    const char *unmatched = find_unmatched(s, globs);
    if (unmatched != NULL) {
        char names[128] = "";
        for (size_t i = 0; i < s->n_sources; i++) {
            size_t at = strlen(names);
            snprintf(names + at, sizeof names - at, "%s%s", i == 0 ? "" : ", ", s->sources[i].name);
        }
        return err__setf(e, ERR_NOT_FOUND, "no source matches \"%.*s\"; there are %s",
                         (int)strcspn(unmatched, ","), unmatched, names);
    }
    bool any = false;
    for (size_t i = 0; i < s->n_sources; i++) {
        struct source_setup *c = &s->sources[i];
        bool helper = strcmp(c->name, "oauth") == 0;
        if (!matches(c->name, globs) && !helper) {
            c->left_out |= c->enabled;
            c->enabled = false;
        }
        any |= c->enabled && !helper;
    }
    return any ? 0 : err__setf(e, ERR_CONFIG, "no enabled source matches %s", globs);
}

void settings__swap_tokens(struct settings *s, struct settings *from) {
    struct settings old = *s;
    memcpy(s->tokens, from->tokens, sizeof s->tokens);
    s->n_tokens = from->n_tokens;
    s->token_text = from->token_text;
    memcpy(from->tokens, old.tokens, sizeof old.tokens);
    from->n_tokens = old.n_tokens;
    from->token_text = old.token_text;
}

void settings__fini(struct settings *s) {
    config__free(s->config);
    free(s->token_text);
    *s = (struct settings){0};
}

const struct source_setup *settings__source(const struct settings *s, const char *name) {
    for (size_t i = 0; i < s->n_sources; i++)
        if (strcmp(s->sources[i].name, name) == 0) return &s->sources[i];
    return NULL;
}

const char *settings__why_off(const struct settings *s, const struct source_setup *c) {
#define NO_TOKEN(scope)                                                                            \
    "no OAuth token with scope " scope ": set POE_CLIENT_ID and POE_CLIENT_SECRET"
    static const struct {
        const char *source, *reason;
    } wants[] = {
        {"account_stashes",
         "no OAuth token with scope account:stashes: souk login account, and restart souk (or, "
         "where that is granted to your client, set POE_CLIENT_ID and POE_CLIENT_SECRET)"},
        {"currency_exchange", NO_TOKEN("service:cxapi")},
        {"leagues", NO_TOKEN("service:leagues")},
        {"psapi", NO_TOKEN("service:psapi") ", or put the token into a variable and name that in "
                                            "sources.psapi.token_env"},
    };
#undef NO_TOKEN
    if (!c->settings.use_oauth || c->token[0] != '\0' || s->config->client_secret[0] != '\0')
        return NULL;
    if (s->login != NULL && strcmp(c->name, "account_stashes") == 0) return NULL;
    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++)
        if (strcmp(c->name, wants[i].source) == 0) return wants[i].reason;
    return NULL;
}
