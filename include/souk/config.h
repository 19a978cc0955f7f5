/* The configuration: souk.yaml, checked as a whole before anything of it is used.
 *
 * Reading is strict. An unknown key is an error that names the nearest known one; every error has
 * its file and line, and all of them are reported at once (up to CONFIG_ERRORS_MAX). YAML's
 * anchors and aliases are refused, files are at most CONFIG_BYTES_MAX. In every value, ${NAME} is
 * replaced by that environment variable, and ${NAME:-text} by text when it is not set or empty; $${
 * stands for ${ itself.
 * Then these variables override what the file says: CH_HOST, CH_PORT, CH_USER,
 * CH_PASSWORD, CH_DATABASE, POE_CLIENT_ID, POE_CLIENT_SECRET, POE_USER_AGENT, POE_CURSOR_DIR (the
 * state directory), POE_THROTTLER_URL, THROTTLER_API_KEY.
 *
 * Everything here blocks for file reads: for start-up and reload only. */
#ifndef SOUK_CONFIG_H
#define SOUK_CONFIG_H

#include "souk/core/buf.h"
#include "souk/core/err.h"
#include <stdbool.h>
#include <stdint.h>

#define CONFIG_ERRORS_MAX 32
#define CONFIG_BYTES_MAX ((size_t)1 << 20)

struct config_errors {
    char line[CONFIG_ERRORS_MAX]
             [320]; /* file:line: message (expected form); file: message for what has no line. */
    size_t n;
    size_t n_more; /* Errors beyond the bound: not kept. */
};

enum config_compression {
    CONFIG_COMPRESSION_NONE,
    CONFIG_COMPRESSION_LZ4,
    CONFIG_COMPRESSION_ZSTD
};
enum config_delivery { CONFIG_EXACTLY_ONCE, CONFIG_AT_LEAST_ONCE };
enum config_log_format { CONFIG_LOG_LOGFMT, CONFIG_LOG_JSON };
enum config_log_level { CONFIG_LOG_DEBUG, CONFIG_LOG_INFO, CONFIG_LOG_WARN, CONFIG_LOG_ERROR };

struct config_psapi {
    bool enabled;
    char *base_url, *seed_url; /* Without a slash at the end. seed_url may be "". Defaults: the real
                                  ones when live, else the simulator's. */
    char *start;               /* head, oldest, or a change id. */
    char **realms;             /* pc, xbox, sony. */
    uint32_t n_realms;
    double period_s, rate_per_s;
    int64_t hidden_bucket_ms;
    char *token_env; /* Name of the variable that holds a bearer token. "": none. */
};

struct config_poe_ninja {
    bool enabled;
    char *base_url;
    char **leagues, **kinds; /* Kinds look like exchange/Currency. */
    uint32_t n_leagues, n_kinds;
    double period_s, rate_per_s;
};

/** A source of the kinds below; which members a source has is in config/schema.c, the others stay
 *  empty. Defaults are in config/config.c. */
enum config_form { CONFIG_CDN, CONFIG_OAUTH };
struct config_source {
    bool enabled;
    char *base_url, *wiki_url; /* Without a slash at the end. */
    char *path;                /* trade_data: with {resource} or {cursor}. */
    char *start;               /* currency_exchange: latest, oldest or a unix hour. */
    enum config_form form;     /* currency_exchange, leagues: public, or with a scope. */
    char **realms, **leagues, **kinds;
    uint32_t n_realms, n_leagues, n_kinds;
    double period_s, rate_per_s;
    double quick_s; /* trade_data: between two looks at change-ids. currency_exchange: how long
                       after the hour, and between two tries. */
};

struct config_tls {
    bool enabled, verify;        /* verify is true unless it is switched off. */
    char *ca_file, *server_name; /* "": the system's authorities, the host's name. */
};

struct config_freshness {
    double amber_s, red_s; /* Age of the last synced page. */
};

/* What other rooms can do; souk's cli sees to it that they say the same. */
#define CONFIG_QUOTA_MIB_MIN 128 /* Two segments of the spool. */
#define CONFIG_BODY_MIB_MAX 64   /* What is decoded at most. */

/** All pointers are owned by the struct and never NULL, unless said otherwise. */
struct config {
    struct {
        char *project, *version, *contact, *client_id;
    } agent;
    bool live; /* Real upstreams: a contact is needed then, and without it they are refused. */
    char *state_dir;
    struct {
        enum config_log_format format;
        enum config_log_level level;
    } log;
    struct {
        char *host, *user, *password, *password_file, *database;
        int64_t port; /* Native protocol. */
        char **hosts; /* host:port each, tried in this order; none: host and port alone. */
        uint32_t n_hosts;
        struct config_tls tls;
        enum config_compression compression;
        enum config_delivery delivery; /* What a table without deduplication means. */
    } clickhouse;
    struct {
        int64_t quota_mib;
        double retain_hours;
    } spool;
    struct {
        char *host, *tokens_file;
        int64_t port, clients_max, clients_per_address;
        double messages_per_s;
        bool open_to_local, open_metrics;
        char **allow_origins;
        uint32_t n_allow_origins;
    } hub;
    char **leagues; /* Followed: partitions of their own. */
    uint32_t n_leagues;
    struct {
        struct config_psapi psapi;
        struct config_poe_ninja poe_ninja;
        struct config_source trade_data, currency_exchange, account_stashes, leagues, enrichment;
        struct config_source oauth; /* Where tokens come from; in use when there is a secret. */
    } sources;
    struct {
        struct config_freshness psapi, poe_ninja, trade_data, currency_exchange, account_stashes,
            leagues, enrichment;
    } alerts;
    struct {
        int64_t host_gap_ms; /* Least time between two requests to one host. */
        int64_t body_mib;    /* Of an answer, decompressed; larger ones are refused. */
        double vendor_per_s; /* Requests a second over all hosts of the game's vendor; 0: as many as
                                its policies allow. */
    } limits;
    struct {
        int64_t rows, bytes_mib, age_ms;
        double live_after_s;    /* So far behind, fresh pages go first, */
        int64_t live_after_mib; /* and so much of the log behind. */
    } batch;
    struct {
        bool enabled;
        int64_t memory_mib;      /* Of what it remembers; beyond it the oldest stashes go. */
        double snapshot_minutes; /* Between two snapshots. */
    } tape;
    /* From the environment, never from the file; "" when not set. */
    char *client_secret, *throttler_url, *throttler_api_key;
    char *psapi_token; /* Value of token_env. */
    char *user_agent;  /* What every request says: built from agent, or POE_USER_AGENT. */
};

/** Looks up a variable. @return NULL when it is not set. */
typedef const char *(*config_env)(const char *name);

/** Reads @path with the process's environment. @return 0 with *@out owned by the caller, or
 *  ERR_NOT_FOUND, ERR_IO, ERR_LIMIT, ERR_NOMEM or ERR_CONFIG; @errs then has one line or more. */
int config__load(const char *path, struct config **out, struct config_errors *errs);
/** The same for bytes in memory: @name is the file's name in messages; @env NULL is getenv. */
int config__parse(const char *name, struct slice text, config_env env, struct config **out,
                  struct config_errors *errs);
/** Frees @c. Accepts NULL. */
void config__free(struct config *c);
/** Appends @c as YAML, with every default spelled out and secrets as ***. @return 0, ERR_NOMEM or
 *  ERR_FULL. What it prints loads again. */
int config__print(const struct config *c, struct buf *out);

#endif
