/* What souk.yaml may hold: the tables that libcyaml loads by and tree.c checks against. */
#include "config_internal.h"

#define OPT CYAML_FLAG_OPTIONAL
#define LIST (CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER)
#define TEXT(key, type, member) CYAML_FIELD_STRING_PTR(key, LIST, type, member, 0, 1024)
#define TEXTS(key, type, member, n)                                                                \
    CYAML_FIELD_SEQUENCE_COUNT(key, LIST, type, member, n, &text_entry, 0, 64)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const cyaml_schema_value_t text_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, 256)};

static const cyaml_strval_t formats[] = {{"logfmt", CONFIG_LOG_LOGFMT}, {"json", CONFIG_LOG_JSON}};
static const cyaml_strval_t levels[] = {{"debug", CONFIG_LOG_DEBUG},
                                        {"info", CONFIG_LOG_INFO},
                                        {"warn", CONFIG_LOG_WARN},
                                        {"error", CONFIG_LOG_ERROR}};
static const cyaml_strval_t compressions[] = {{"none", CONFIG_COMPRESSION_NONE},
                                              {"lz4", CONFIG_COMPRESSION_LZ4},
                                              {"zstd", CONFIG_COMPRESSION_ZSTD}};

static const cyaml_strval_t deliveries[] = {{"exactly_once", CONFIG_EXACTLY_ONCE},
                                            {"at_least_once", CONFIG_AT_LEAST_ONCE}};

static const cyaml_schema_field_t agent_fields[] = {
    TEXT("project", struct config, agent.project), TEXT("version", struct config, agent.version),
    TEXT("contact", struct config, agent.contact),
    TEXT("client_id", struct config, agent.client_id), CYAML_FIELD_END};
static const cyaml_schema_field_t log_fields[] = {
    CYAML_FIELD_ENUM("format", OPT, struct config, log.format, formats, COUNT(formats)),
    CYAML_FIELD_ENUM("level", OPT, struct config, log.level, levels, COUNT(levels)),
    CYAML_FIELD_END};
static const cyaml_schema_field_t tls_fields[] = {
    CYAML_FIELD_BOOL("enabled", OPT, struct config_tls, enabled),
    CYAML_FIELD_BOOL("verify", OPT, struct config_tls, verify),
    TEXT("ca_file", struct config_tls, ca_file),
    TEXT("server_name", struct config_tls, server_name), CYAML_FIELD_END};
static const cyaml_schema_field_t clickhouse_fields[] = {
    TEXT("host", struct config, clickhouse.host),
    TEXTS("hosts", struct config, clickhouse.hosts, clickhouse.n_hosts),
    CYAML_FIELD_MAPPING("tls", OPT, struct config, clickhouse.tls, tls_fields),
    CYAML_FIELD_INT("port", OPT, struct config, clickhouse.port),
    TEXT("user", struct config, clickhouse.user),
    TEXT("password", struct config, clickhouse.password),
    TEXT("password_file", struct config, clickhouse.password_file),
    TEXT("database", struct config, clickhouse.database),
    CYAML_FIELD_ENUM("compression", OPT, struct config, clickhouse.compression, compressions,
                     COUNT(compressions)),
    CYAML_FIELD_ENUM("delivery", OPT, struct config, clickhouse.delivery, deliveries,
                     COUNT(deliveries)),
    CYAML_FIELD_END};
static const cyaml_schema_field_t spool_fields[] = {
    CYAML_FIELD_INT("quota_mib", OPT, struct config, spool.quota_mib),
    CYAML_FIELD_FLOAT("retain_hours", OPT, struct config, spool.retain_hours), CYAML_FIELD_END};
static const cyaml_schema_field_t hub_fields[] = {
    TEXT("host", struct config, hub.host),
    CYAML_FIELD_INT("port", OPT, struct config, hub.port),
    TEXTS("allow_origins", struct config, hub.allow_origins, hub.n_allow_origins),
    TEXT("tokens_file", struct config, hub.tokens_file),
    CYAML_FIELD_BOOL("open_to_local", OPT, struct config, hub.open_to_local),
    CYAML_FIELD_BOOL("open_metrics", OPT, struct config, hub.open_metrics),
    CYAML_FIELD_INT("clients_max", OPT, struct config, hub.clients_max),
    CYAML_FIELD_INT("clients_per_address", OPT, struct config, hub.clients_per_address),
    CYAML_FIELD_FLOAT("messages_per_s", OPT, struct config, hub.messages_per_s),
    CYAML_FIELD_END};
static const cyaml_schema_field_t psapi_fields[] = {
    CYAML_FIELD_BOOL("enabled", OPT, struct config_psapi, enabled),
    TEXT("base_url", struct config_psapi, base_url),
    TEXT("seed_url", struct config_psapi, seed_url),
    TEXT("start", struct config_psapi, start),
    TEXTS("realms", struct config_psapi, realms, n_realms),
    CYAML_FIELD_FLOAT("period_s", OPT, struct config_psapi, period_s),
    CYAML_FIELD_INT("hidden_bucket_ms", OPT, struct config_psapi, hidden_bucket_ms),
    CYAML_FIELD_FLOAT("rate_per_s", OPT, struct config_psapi, rate_per_s),
    TEXT("token_env", struct config_psapi, token_env),
    CYAML_FIELD_END};
static const cyaml_schema_field_t poe_ninja_fields[] = {
    CYAML_FIELD_BOOL("enabled", OPT, struct config_poe_ninja, enabled),
    TEXT("base_url", struct config_poe_ninja, base_url),
    TEXTS("leagues", struct config_poe_ninja, leagues, n_leagues),
    TEXTS("kinds", struct config_poe_ninja, kinds, n_kinds),
    CYAML_FIELD_FLOAT("period_s", OPT, struct config_poe_ninja, period_s),
    CYAML_FIELD_FLOAT("rate_per_s", OPT, struct config_poe_ninja, rate_per_s),
    CYAML_FIELD_END};
static const cyaml_strval_t forms[] = {{"cdn", CONFIG_CDN}, {"oauth", CONFIG_OAUTH}};

#define COMMON                                                                                     \
    CYAML_FIELD_BOOL("enabled", OPT, struct config_source, enabled),                               \
        TEXT("base_url", struct config_source, base_url),                                          \
        CYAML_FIELD_FLOAT("period_s", OPT, struct config_source, period_s),                        \
        CYAML_FIELD_FLOAT("rate_per_s", OPT, struct config_source, rate_per_s)
#define FORM CYAML_FIELD_ENUM("form", OPT, struct config_source, form, forms, COUNT(forms))
#define REALMS TEXTS("realms", struct config_source, realms, n_realms)
#define QUICK(key) CYAML_FIELD_FLOAT(key, OPT, struct config_source, quick_s)

static const cyaml_schema_field_t trade_data_fields[] = {
    COMMON, TEXT("path", struct config_source, path),
    TEXTS("resources", struct config_source, kinds, n_kinds), QUICK("change_ids_s"),
    CYAML_FIELD_END};
static const cyaml_schema_field_t currency_exchange_fields[] = {
    COMMON,          FORM,           REALMS, TEXT("start", struct config_source, start),
    QUICK("late_s"), CYAML_FIELD_END};
static const cyaml_schema_field_t account_stashes_fields[] = {
    COMMON, REALMS, TEXTS("leagues", struct config_source, leagues, n_leagues), CYAML_FIELD_END};
static const cyaml_schema_field_t leagues_fields[] = {COMMON, FORM, REALMS, CYAML_FIELD_END};
static const cyaml_schema_field_t enrichment_fields[] = {
    COMMON, TEXT("wiki_url", struct config_source, wiki_url),
    TEXTS("pages", struct config_source, kinds, n_kinds), CYAML_FIELD_END};
static const cyaml_schema_field_t oauth_fields[] = {
    TEXT("base_url", struct config_source, base_url),
    TEXTS("scopes", struct config_source, kinds, n_kinds), CYAML_FIELD_END};
static const cyaml_schema_field_t freshness_fields[] = {
    CYAML_FIELD_FLOAT("amber_s", OPT, struct config_freshness, amber_s),
    CYAML_FIELD_FLOAT("red_s", OPT, struct config_freshness, red_s), CYAML_FIELD_END};
static const cyaml_schema_field_t limits_fields[] = {
    CYAML_FIELD_INT("host_gap_ms", OPT, struct config, limits.host_gap_ms),
    CYAML_FIELD_INT("body_mib", OPT, struct config, limits.body_mib),
    CYAML_FIELD_FLOAT("vendor_per_s", OPT, struct config, limits.vendor_per_s), CYAML_FIELD_END};
static const cyaml_schema_field_t batch_fields[] = {
    CYAML_FIELD_INT("rows", OPT, struct config, batch.rows),
    CYAML_FIELD_INT("bytes_mib", OPT, struct config, batch.bytes_mib),
    CYAML_FIELD_INT("age_ms", OPT, struct config, batch.age_ms),
    CYAML_FIELD_FLOAT("live_after_s", OPT, struct config, batch.live_after_s),
    CYAML_FIELD_INT("live_after_mib", OPT, struct config, batch.live_after_mib),
    CYAML_FIELD_END};
static const cyaml_schema_field_t tape_fields[] = {
    CYAML_FIELD_BOOL("enabled", OPT, struct config, tape.enabled),
    CYAML_FIELD_INT("memory_mib", OPT, struct config, tape.memory_mib),
    CYAML_FIELD_FLOAT("snapshot_minutes", OPT, struct config, tape.snapshot_minutes),
    CYAML_FIELD_END};

/* A section whose fields are offset from the whole struct: it has no struct type of its own. */
#define SECTION(key_, fields_)                                                                     \
    {                                                                                              \
        .key = key_, .data_offset = 0, .value = {                                                  \
            CYAML_VALUE_MAPPING(OPT, struct config, fields_)                                       \
        }                                                                                          \
    }

static const cyaml_schema_field_t sources_fields[] = {
    CYAML_FIELD_MAPPING("psapi", OPT, struct config, sources.psapi, psapi_fields),
    CYAML_FIELD_MAPPING("poe_ninja", OPT, struct config, sources.poe_ninja, poe_ninja_fields),
    CYAML_FIELD_MAPPING("trade_data", OPT, struct config, sources.trade_data, trade_data_fields),
    CYAML_FIELD_MAPPING("currency_exchange", OPT, struct config, sources.currency_exchange,
                        currency_exchange_fields),
    CYAML_FIELD_MAPPING("account_stashes", OPT, struct config, sources.account_stashes,
                        account_stashes_fields),
    CYAML_FIELD_MAPPING("leagues", OPT, struct config, sources.leagues, leagues_fields),
    CYAML_FIELD_MAPPING("enrichment", OPT, struct config, sources.enrichment, enrichment_fields),
    CYAML_FIELD_MAPPING("oauth", OPT, struct config, sources.oauth, oauth_fields),
    CYAML_FIELD_END};
static const cyaml_schema_field_t alerts_fields[] = {
    CYAML_FIELD_MAPPING("psapi", OPT, struct config, alerts.psapi, freshness_fields),
    CYAML_FIELD_MAPPING("poe_ninja", OPT, struct config, alerts.poe_ninja, freshness_fields),
    CYAML_FIELD_MAPPING("trade_data", OPT, struct config, alerts.trade_data, freshness_fields),
    CYAML_FIELD_MAPPING("currency_exchange", OPT, struct config, alerts.currency_exchange,
                        freshness_fields),
    CYAML_FIELD_MAPPING("account_stashes", OPT, struct config, alerts.account_stashes,
                        freshness_fields),
    CYAML_FIELD_MAPPING("leagues", OPT, struct config, alerts.leagues, freshness_fields),
    CYAML_FIELD_MAPPING("enrichment", OPT, struct config, alerts.enrichment, freshness_fields),
    CYAML_FIELD_END};
static const cyaml_schema_field_t config_fields[] = {
    SECTION("agent", agent_fields),
    CYAML_FIELD_BOOL("live", OPT, struct config, live),
    TEXT("state_dir", struct config, state_dir),
    SECTION("log", log_fields),
    SECTION("clickhouse", clickhouse_fields),
    SECTION("spool", spool_fields),
    SECTION("hub", hub_fields),
    TEXTS("leagues", struct config, leagues, n_leagues),
    SECTION("sources", sources_fields),
    SECTION("alerts", alerts_fields),
    SECTION("limits", limits_fields),
    SECTION("batch", batch_fields),
    SECTION("tape", tape_fields),
    CYAML_FIELD_END};

const cyaml_schema_value_t config_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config, config_fields)};
