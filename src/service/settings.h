/* The configuration as the rooms want it: one entry a source, joined lists, tokens. */
#ifndef SOUK_CLI_SETTINGS_H
#define SOUK_CLI_SETTINGS_H

#include "../streams/login_file.h"
#include "souk/config.h"
#include "souk/hub.h"
#include "souk/source.h"

#define SETTINGS_SOURCES_MAX 16

struct source_setup {
    const char *name;
    bool enabled;
    bool left_out; /* Enabled in the configuration, but not selected for this run. */
    struct source_settings settings; /* Points into the configuration. */
    double rate_per_s;
    int64_t hidden_bucket_ns; /* 0: the governor's default. */
    int64_t key_gap_ns;
    double amber_s, red_s;
    const char *token; /* A bearer token that somebody else has got; "": none. */
};

struct settings {
    struct config *config; /* Owned. */
    const char *path;      /* Where it came from. Borrowed. */
    struct source_setup sources[SETTINGS_SOURCES_MAX];
    size_t n_sources;
    struct login_file *login; /* Who is logged in. Borrowed; NULL: nobody. */
    struct hub_token tokens[HUB_TOKENS_MAX];
    size_t n_tokens;
    char *token_text; /* Owned; what the tokens point into. */
};

/** Takes @config, also on failure. @return 0; ERR_CONFIG for a tokens_file that is not as it should
 * be. */
int settings__init(struct settings *s, struct config *config, struct err *e);
/** Has the login of a user, which outlives @s, open what only a user can. @return 0; ERR_REFUSED
 *  with why in @e, and nothing is opened, when it is another client's, or when its refresh token
 *  would travel where others can read it. */
int settings__take_login(struct settings *s, struct login_file *login, struct err *e);
/** @return 0 when what is secret may go to the token endpoint of @c: over TLS, or on this machine.
 *  Else ERR_CONFIG. */
int settings__private_oauth(const struct config *c, struct err *e);
/** Takes the tokens of @from, which gets those of @s. */
void settings__swap_tokens(struct settings *s, struct settings *from);
/** Frees all, the configuration too. Accepts a zeroed struct. */
void settings__fini(struct settings *s);
/** Switches off every source that matches none of @globs, which commas separate. Tokens ("oauth")
 *  are no source of their own: they stay for those that need them. @return 0; ERR_NOT_FOUND when a
 *  glob matches no source there is, naming all; ERR_CONFIG when those that match are switched off
 *  in the configuration. */
int settings__select(struct settings *s, const char *globs, struct err *e);
/** @return the source called @name, or NULL. */
const struct source_setup *settings__source(const struct settings *s, const char *name);
/** @return why the source @c cannot run although it is enabled, and what to do; or NULL.
 * Credentials that are not there are a normal state: said once, shown in the status, and never
 * asked for in vain. */
const char *settings__why_off(const struct settings *s, const struct source_setup *c);

#endif
