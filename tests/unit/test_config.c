/* Every class of error with its line, defaults, the environment, and hostile YAML. */
#include "souk/config.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const char *env_name[16], *env_value[16];
static size_t n_env;

static const char *fake_env(const char *name) {
    for (size_t i = 0; i < n_env; i++)
        if (strcmp(env_name[i], name) == 0) return env_value[i];
    return NULL;
}
static void put_env(const char *name, const char *value) {
    env_name[n_env] = name;
    env_value[n_env++] = value;
}
static int clear_env(void **state) {
    (void)state;
    n_env = 0;
    return 0;
}

static struct config_errors errs;

static struct config *load(const char *text) {
    struct config *c;
    if (config__parse("f", slice__str(text), fake_env, &c, &errs) != 0)
        fail_msg("%s", errs.line[0]);
    assert_int_equal(errs.n, 0);
    return c;
}
/* Loads @text, which has exactly the one error @line. */
static void refuse(const char *text, const char *line) {
    struct config *c;
    assert_int_equal(config__parse("f", slice__str(text), fake_env, &c, &errs), ERR_CONFIG);
    assert_null(c);
    assert_string_equal(errs.line[0], line);
    assert_int_equal(errs.n, 1);
}

static void test_config_has_defaults_for_everything(void **state) {
    static const char *const nothing[] = {"", "# Only a comment.\n", "{}\n", "---\n...\n"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct config *c = load(nothing[i]);
        assert_string_equal(c->clickhouse.host, "127.0.0.1");
        assert_int_equal(c->clickhouse.port, 9000);
        assert_string_equal(c->clickhouse.database, "poe_trade");
        assert_int_equal(c->clickhouse.compression, CONFIG_COMPRESSION_LZ4);
        assert_int_equal(c->clickhouse.delivery, CONFIG_EXACTLY_ONCE);
        assert_true(c->limits.vendor_per_s == 0); /* No such limit; 0.95 with live: true. */
        assert_true(c->batch.live_after_s > 29 && c->batch.live_after_s < 31);
        assert_int_equal(c->log.level, CONFIG_LOG_INFO);
        assert_int_equal(c->hub.port, 8686);
        assert_false(c->hub.open_to_local);
        assert_true(c->hub.open_metrics);
        assert_int_equal(c->hub.clients_max, 2000);
        assert_int_equal(c->hub.clients_per_address, 64);
        assert_true(c->hub.messages_per_s == 5);
        assert_false(c->live);
        assert_string_equal(c->sources.psapi.base_url, "http://127.0.0.1:8787");
        assert_string_equal(c->sources.poe_ninja.base_url, "http://127.0.0.1:8787");
        assert_true(c->sources.psapi.enabled);
        assert_string_equal(c->sources.psapi.realms[0], "pc");
        assert_true(c->alerts.poe_ninja.red_s == 600);
        assert_int_equal(c->batch.rows, 50000);
        assert_string_equal(c->user_agent,
                            "OAuth souk/" SOUK_VERSION " (contact: ) souk/" SOUK_VERSION);
        config__free(c);
    }
}

static const char full[] =
    "agent: {project: p, version: '1.2', contact: me@example.org, client_id: cid}\n"
    "live: true\n"
    "state_dir: /var/lib/souk\n"
    "log: {format: json, level: debug}\n"
    "clickhouse: {host: ch, port: 9440, user: u, password: secret, database: db,\n"
    "  compression: zstd, hosts: ['a.example:9440', '[::1]', b],\n"
    "  tls: {enabled: true, verify: false, ca_file: /ca.pem, server_name: ch.example},\n"
    "  delivery: at_least_once}\n"
    "spool: {quota_mib: 200, retain_hours: 0}\n"
    "tape: {enabled: false, memory_mib: 64, snapshot_minutes: 0.5}\n"
    "hub: {host: 0.0.0.0, port: 80, allow_origins: ['https://a.example'],\n"
    "  tokens_file: t, open_to_local: true, open_metrics: false, clients_max: 5000,\n"
    "  clients_per_address: 500, messages_per_s: 0.5}\n"
    "leagues: [Standard, \"Hardcore Mirage\"]\n"
    "sources:\n"
    "  psapi: {enabled: false, base_url: 'https://h/', seed_url: 'https://s',\n"
    "    start: 12-34, realms: [xbox], period_s: 0.5, hidden_bucket_ms: 0,\n"
    "    rate_per_s: 2, token_env: TOK}\n"
    "  poe_ninja: {enabled: true, base_url: 'https://n', leagues: [],\n"
    "    kinds: [item/UniqueWeapon, currency/Currency], period_s: 60,\n"
    "    rate_per_s: 1}\n"
    "alerts: {psapi: {amber_s: 1, red_s: 2}, poe_ninja: {amber_s: 3, red_s: 4}}\n"
    "limits: {host_gap_ms: 100, vendor_per_s: 0.5, body_mib: 48}\n"
    "batch: {rows: 1, bytes_mib: 2, age_ms: 3}\n";

static void check_full(const struct config *c) {
    assert_true(c->live);
    assert_int_equal(c->log.format, CONFIG_LOG_JSON);
    assert_int_equal(c->clickhouse.compression, CONFIG_COMPRESSION_ZSTD);
    assert_int_equal(c->clickhouse.n_hosts, 3);
    assert_string_equal(c->clickhouse.hosts[1], "[::1]");
    assert_true(c->clickhouse.tls.enabled && !c->clickhouse.tls.verify);
    assert_string_equal(c->clickhouse.tls.ca_file, "/ca.pem");
    assert_string_equal(c->clickhouse.tls.server_name, "ch.example");
    assert_int_equal(c->clickhouse.delivery, CONFIG_AT_LEAST_ONCE);
    assert_true(c->spool.retain_hours == 0);
    assert_false(c->tape.enabled);
    assert_int_equal(c->tape.memory_mib, 64);
    assert_true(c->tape.snapshot_minutes == 0.5);
    assert_int_equal(c->n_leagues, 2);
    assert_string_equal(c->leagues[1], "Hardcore Mirage");
    assert_false(c->sources.psapi.enabled);
    assert_string_equal(c->sources.psapi.base_url, "https://h");
    assert_string_equal(c->sources.psapi.start, "12-34");
    assert_int_equal(c->sources.psapi.hidden_bucket_ms, 0);
    assert_true(c->sources.psapi.period_s == 0.5);
    assert_int_equal(c->sources.poe_ninja.n_leagues, 0);
    assert_int_equal(c->sources.poe_ninja.n_kinds, 2);
    assert_string_equal(c->hub.allow_origins[0], "https://a.example");
    assert_true(c->hub.open_to_local && !c->hub.open_metrics);
    assert_int_equal(c->hub.clients_max, 5000);
    assert_int_equal(c->hub.clients_per_address, 500);
    assert_true(c->hub.messages_per_s == 0.5);
    assert_true(c->alerts.psapi.amber_s == 1 && c->alerts.poe_ninja.red_s == 4);
    assert_int_equal(c->batch.age_ms, 3);
    assert_int_equal(c->limits.host_gap_ms, 100);
    assert_int_equal(c->limits.body_mib, 48);
    assert_true(c->limits.vendor_per_s == 0.5);
    assert_string_equal(c->user_agent,
                        "OAuth cid/1.2 (contact: me@example.org) souk/" SOUK_VERSION);
}

static void test_config_prints_what_loads_again_without_secrets(void **state) {
    (void)state;
    put_env("TOK", "hush-token");
    put_env("POE_CLIENT_SECRET", "hush-secret");
    struct config *c = load(full);
    check_full(c);
    assert_string_equal(c->clickhouse.password, "secret");
    assert_string_equal(c->psapi_token, "hush-token");
    assert_string_equal(c->client_secret, "hush-secret");
    struct buf out = buf__init(1 << 20);
    assert_int_equal(config__print(c, &out), 0);
    buf__u8(&out, 0);
    assert_null(strstr(out.base, "secret"));
    assert_null(strstr(out.base, "hush"));
    assert_non_null(strstr(out.base, "***"));
    assert_string_equal(c->clickhouse.password, "secret");
    config__free(c);
    c = load(out.base);
    check_full(c);
    config__free(c);
    buf__clear(&out);
    c = load("alerts: {psapi: {amber_s: 0.1}}\nbatch: {live_after_s: 1.0000000000000002}\n");
    assert_int_equal(config__print(c, &out), 0);
    buf__u8(&out, 0);
    assert_non_null(strstr(out.base, "\n  retain_hours: 24\n")); /* As people write them. */
    assert_non_null(strstr(out.base, " rate_per_s: 0.8\n"));
    assert_non_null(strstr(out.base, " amber_s: 0.1\n"));
    assert_non_null(strstr(out.base, " live_after_s: 1.0000000000000002\n"));
    config__free(c);
    buf__fini(&out);
}

static void test_config_names_every_error_with_its_line(void **state) {
    static const struct {
        const char *text, *line;
    } table[] = {
        {"live: false\nagnet: {}\n", "f:2: unknown key \"agnet\" (did you mean \"agent\"?)"},
        {"hub:\n  prot: 1\n", "f:2: unknown key \"hub.prot\" (did you mean \"port\"?)"},
        {"log:\n\n  quite_other: 1\n",
         "f:3: unknown key \"log.quite_other\" (expected one of: format, level)"},
        {"hub: {port: eighty}\n", "f:1: hub.port is \"eighty\" (expected a whole number)"},
        {"hub: {port: 0x50}\n", "f:1: hub.port is \"0x50\" (expected a whole number)"},
        {"hub: {port: 010}\n", "f:1: hub.port is \"010\" (expected a whole number)"},
        {"hub: {port: 99999999999999999999}\n",
         "f:1: hub.port is \"99999999999999999999\" (expected a whole number)"},
        {"\nhub: {port: 0}\n", "f:2: hub.port is 0 (expected 1 to 65535)"},
        {"spool: {quota_mib: 127}\n", "f:1: spool.quota_mib is 127 (expected 128 to 16777216)"},
        {"limits: {body_mib: 65}\n", "f:1: limits.body_mib is 65 (expected 1 to 64)"},
        {"hub: {port: 65536}\n", "f:1: hub.port is 65536 (expected 1 to 65535)"},
        {"hub: {host: not a host}\n",
         "f:1: hub.host is \"not a host\" (expected an IP address, as 127.0.0.1 or ::1)"},
        {"hub:\n  host: localhost\n",
         "f:2: hub.host is \"localhost\" (expected an IP address, as 127.0.0.1 or ::1)"},
        {"hub: {host: '[::1]'}\n",
         "f:1: hub.host is \"[::1]\" (expected an IP address, as 127.0.0.1 or ::1)"},
        {"hub: {host: 'fe80::1%'}\n",
         "f:1: hub.host is \"fe80::1%\" (expected an IP address, as 127.0.0.1 or ::1)"},
        {"hub: {host: 127.0.0.1:80}\n",
         "f:1: hub.host is \"127.0.0.1:80\" (expected an IP address, as 127.0.0.1 or ::1)"},
        {"hub: {host: ''}\n", "f:1: hub.host is \"\" (expected an IP address, as 127.0.0.1 or ::1)"},
        {"clickhouse: {host: a b}\n",
         "f:1: clickhouse.host is \"a b\" (expected a name or an address)"},
        {"clickhouse: {host: 'a:70000'}\n",
         "f:1: clickhouse.host is \"a:70000\" (expected a name or an address)"},
        {"hub: {allow_origins: ['http://a', 'http://b', 'http://c', 'http://d', 'http://e', 'http://f', 'http://g', 'http://h',"
         "'http://i', 'http://j', 'http://k', 'http://l', 'http://m', 'http://n', 'http://o', 'http://p', 'http://q']}\n",
         "f:1: hub.allow_origins has 17 entries (expected at most 16)"},
        {"hub: {clients_max: 0}\n", "f:1: hub.clients_max is 0 (expected 1 to 100000)"},
        {"hub: {clients_per_address: 0}\n",
         "f:1: hub.clients_per_address is 0 (expected 1 to 100000)"},
        {"hub: {messages_per_s: 0}\n",
         "f:1: hub.messages_per_s is 0 (expected more than 0, at most 1000)"},
        {"clickhouse:\n  port: -1\n", "f:2: clickhouse.port is -1 (expected 1 to 65535)"},
        {"live: yes\n", "f:1: live is \"yes\" (expected true or false)"},
        {"log: {level: loud}\n",
         "f:1: log.level is \"loud\" (expected one of: debug, info, warn, error)"},
        {"sources:\n  psapi:\n    period_s: soon\n",
         "f:3: sources.psapi.period_s is \"soon\" (expected a number)"},
        {"sources:\n  psapi:\n    period_s: nan\n",
         "f:3: sources.psapi.period_s is \"nan\" (expected a number)"},
        {"sources:\n  psapi:\n    period_s: 0\n",
         "f:3: sources.psapi.period_s is 0 (expected more than 0, at most 86400)"},
        {"sources:\n  poe_ninja:\n    rate_per_s: 1.5\n",
         "f:3: sources.poe_ninja.rate_per_s is 1.5 (expected more than 0, at most 1)"},
        {"sources:\n  poe_ninja:\n    kinds:\n    - exchange/Currency\n    - Currency\n",
         "f:5: sources.poe_ninja.kinds[1] is \"Currency\" (expected exchange/, item/ or currency/ "
         "and "
         "a type, as exchange/Currency)"},
        {"sources: {psapi: {base_url: 'ftp://h'}}\n",
         "f:1: sources.psapi.base_url is \"ftp://h\" (expected http://host or https://host)"},
        {"sources: {psapi: {start: tail}}\n",
         "f:1: sources.psapi.start is \"tail\" (expected head, oldest or a change id)"},
        {"sources: {psapi: {realms: [pc, ps5]}}\n",
         "f:1: sources.psapi.realms[1] is \"ps5\" (expected pc, xbox or sony)"},
        {"leagues:\n- A\n- B\n- A\n", "f:4: leagues[2]: \"A\" is listed twice"},
        {"leagues: Standard\n", "f:1: leagues is no list (expected [a, b] or lines of - a)"},
        {"leagues: [[a]]\n", "f:1: leagues[0] is not a single value"},
        {"hub: 8080\n", "f:1: hub is no section (expected keys and values)"},
        {"- a\n", "f:1: the file is no section (expected keys and values)"},
        {"live: false\nlive: true\n", "f:2: live is given twice (first in line 1)"},
        {"\nlive: true\n",
         "f:2: live is true and agent.contact is empty (expected your e-mail address or URL, as in "
         "agent: {contact: you@example.org})"},
        {"agent:\n  contact: nobody\n",
         "f:2: agent.contact is \"nobody\" (expected you@example.org or https://example.org/you)"},
        {"alerts:\n  psapi:\n    red_s: 10\n",
         "f:3: alerts.psapi.red_s is 10 (expected at least amber_s, 20)"},
        {"hub:\n  allow_origins: ['https://a/b']\n",
         "f:2: hub.allow_origins[0] is \"https://a/b\" (expected an origin, as "
         "https://example.org)"},
        {"clickhouse: {database: 'a; b'}\n",
         "f:1: clickhouse.database is \"a; b\" (expected letters, digits and _)"},
        {"batch: {rows: 0}\n", "f:1: batch.rows is 0 (expected 1 to 1000000)"},
        {"live: true\nagent: {contact: a@b.org}\nlimits: {vendor_per_s: 0}\n",
         "f:3: limits.vendor_per_s is 0 (expected 0.001 to 1 when live is true)"},
        {"sources:\n  trade_data: {path: /api/trade/data}\n",
         "f:2: sources.trade_data.path is \"/api/trade/data\" (expected a path with {resource} or "
         "with "
         "{cursor}, as /api/trade/data/{resource})"},
        {"sources:\n  trade_data: {resources: [static, people]}\n",
         "f:2: sources.trade_data.resources[1] is \"people\" (expected static, items, stats, "
         "leagues, "
         "filters or change-ids)"},
        {"sources:\n  currency_exchange: {start: 1786003201}\n",
         "f:2: sources.currency_exchange.start is \"1786003201\" (expected latest, oldest or the "
         "unix "
         "time of an hour, as 1786003200)"},
        {"sources:\n  currency_exchange: {form: ftp}\n",
         "f:2: sources.currency_exchange.form is \"ftp\" (expected one of: cdn, oauth)"},
        {"sources:\n  enrichment: {pages: [http]}\n",
         "f:2: sources.enrichment.pages[0] is \"http\" (expected poedb/ or wiki/ and a page, as "
         "poedb/Currency_Exchange)"},
        {"sources:\n  oauth: {scopes: [psapi]}\n",
         "f:2: sources.oauth.scopes[0] is \"psapi\" (expected a scope, as service:psapi)"},
        {"sources:\n  leagues: {enabled: true, base_url: 'https://api.pathofexile.com'}\n",
         "f:2: sources.leagues.base_url is \"https://api.pathofexile.com\" and live is false "
         "(expected "
         "live: true, and agent.contact)"},
        {"clickhouse:\n  hosts: [a:1, 'b:']\n",
         "f:2: clickhouse.hosts[1] is \"b:\" (expected host:port)"},
        {"clickhouse: {hosts: ['a:70000']}\n",
         "f:1: clickhouse.hosts[0] is \"a:70000\" (expected host:port)"},
        {"clickhouse:\n  tls: {verify: false}\n",
         "f:2: clickhouse.tls is described but not enabled (expected enabled: true)"},
        {"clickhouse: {password: a,\n password_file: b}\n",
         "f:2: clickhouse has both password and password_file (expected one)"},
        {"clickhouse:\n  password_file: /nonexistent/secret\n",
         "f:2: clickhouse.password_file \"/nonexistent/secret\": No such file or directory"},
        {"live: false\n--- \nlive: false\n", "f:3: a second document (expected one)"},
        {"state_dir: ${NOT_SET}\n", "f:1: environment variable NOT_SET is not set (expected it, or "
                                    "${NOT_SET:-text})"},
        {"state_dir: ${1x}\n",
         "f:1: \"${1x}\" (expected ${NAME} or ${NAME:-text}, the text without "
         "${; $${ stands for ${ itself)"},
        {"state_dir: ${A:-${B}\n",
         "f:1: \"${A:-${B}\" (expected ${NAME} or ${NAME:-text}, the text "
         "without ${; $${ stands for ${ itself)"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        refuse(table[i].text, table[i].line);
}

static void test_config_says_where_the_yaml_breaks(void **state) {
    struct config *c;
    (void)state;
    static const char *const broken[] = {"live: false\nhub: {port: 1\nlog: x: y\n", "a: 'b\n",
                                         "\xff\xfe\x01", "live: \"\\xzz\"\n", "\t- a\n"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(config__parse("f", slice__str(broken[i]), fake_env, &c, &errs),
                         ERR_CONFIG);
        assert_non_null(strstr(errs.line[0], "not YAML"));
    }
}

static void test_config_reports_all_errors_at_once(void **state) {
    struct config *c;
    char text[4096] = "";
    (void)state;
    refuse("live: maybe\n", "f:1: live is \"maybe\" (expected true or false)");
    const char *three = "live: maybe\nhub: {prot: 1}\nleagues: x\n";
    assert_int_equal(config__parse("f", slice__str(three), fake_env, &c, &errs), ERR_CONFIG);
    assert_int_equal(errs.n, 3);
    assert_non_null(strstr(errs.line[2], "f:3: leagues"));
    const char *judged = "hub: {port: 0}\nbatch: {rows: 0,\n age_ms: 0}\n";
    assert_int_equal(config__parse("f", slice__str(judged), fake_env, &c, &errs), ERR_CONFIG);
    assert_int_equal(errs.n, 3);
    assert_non_null(strstr(errs.line[2], "f:3: batch.age_ms"));
    for (int i = 0; i < 40; i++) sprintf(text + strlen(text), "k%d: 1\n", i);
    assert_int_equal(config__parse("f", slice__str(text), fake_env, &c, &errs), ERR_CONFIG);
    assert_int_equal(errs.n, CONFIG_ERRORS_MAX);
    assert_int_equal(errs.n_more, 40 - CONFIG_ERRORS_MAX);
}

static void test_config_lets_the_environment_override(void **state) {
    (void)state;
    put_env("CH_HOST", "db");
    put_env("CH_PORT", "9001");
    put_env("CH_USER", "me");
    put_env("CH_PASSWORD", "pw");
    put_env("CH_DATABASE", "other");
    put_env("POE_CLIENT_ID", "myclient");
    put_env("POE_CURSOR_DIR", "/cursors");
    put_env("POE_THROTTLER_URL", "http://t:1");
    put_env("THROTTLER_API_KEY", "key");
    struct config *c = load("clickhouse: {host: file, port: 1}\nagent: {client_id: file}\n");
    assert_string_equal(c->clickhouse.host, "db");
    assert_int_equal(c->clickhouse.port, 9001);
    assert_string_equal(c->clickhouse.user, "me");
    assert_string_equal(c->clickhouse.password, "pw");
    assert_string_equal(c->clickhouse.database, "other");
    assert_string_equal(c->state_dir, "/cursors");
    assert_string_equal(c->throttler_url, "http://t:1");
    assert_string_equal(c->throttler_api_key, "key");
    assert_non_null(strstr(c->user_agent, "OAuth myclient/"));
    config__free(c);
    put_env("POE_USER_AGENT", "just this");
    c = load("");
    assert_string_equal(c->user_agent, "just this");
    config__free(c);
    n_env = 0;
    put_env("CH_PORT", "http");
    refuse("", "f: CH_PORT is \"http\" (expected 1 to 65535)");
    n_env = 0;
    put_env("POE_USER_AGENT", "a\r\nX-Evil: b");
    refuse("", "f: POE_USER_AGENT is not printable ASCII");
}

static void test_config_asks_the_vendors_with_a_contact_only(void **state) {
    (void)state;
    struct config *c = load("live: true\nagent: {contact: me@example.org}\n");
    assert_string_equal(c->sources.psapi.base_url, "https://api.pathofexile.com");
    assert_string_equal(c->sources.psapi.seed_url, "https://www.pathofexile.com");
    assert_string_equal(c->sources.poe_ninja.base_url, "https://poe.ninja");
    config__free(c);
    refuse("live: true\nagent: {contact: me@example.org}\nsources: {poe_ninja: {base_url: 'http://poe.ninja'}}\n",
           "f:3: sources.poe_ninja.base_url is \"http://poe.ninja\" and live is true (expected https://, or a "
           "host of this machine)");
    refuse("live: true\nagent: {contact: me@example.org}\nsources:\n  psapi: {seed_url: 'http://127.0.0.1.evil.example'}\n",
           "f:4: sources.psapi.seed_url is \"http://127.0.0.1.evil.example\" and live is true (expected https://, or a "
           "host of this machine)");
    config__free(load("live: true\nagent: {contact: me@example.org}\n"
                      "sources: {poe_ninja: {base_url: 'http://localhost:1'}, psapi: {base_url: 'http://[::1]:2/x'}}\n"));
    refuse("sources: {poe_ninja: {base_url: 'https://Poe.Ninja:443/x'}}\n",
           "f:1: sources.poe_ninja.base_url is \"https://Poe.Ninja:443/x\" and live is false "
           "(expected "
           "live: true, and agent.contact)");
    refuse("sources:\n  psapi:\n    seed_url: https://www.pathofexile.com.\n",
           "f:3: sources.psapi.seed_url is \"https://www.pathofexile.com.\" and live is false "
           "(expected "
           "live: true, and agent.contact)");
    config__free(load("sources: {poe_ninja: {enabled: false, base_url: 'https://poe.ninja'}}\n"));
    config__free(load("sources: {poe_ninja: {base_url: 'https://notpoe.ninja'}}\n"));
}

static void test_config_reaches_clickhouse_as_it_is_told(void **state) {
    (void)state;
    struct config *c = load("clickhouse: {tls: {enabled: true}}\n");
    assert_true(c->clickhouse.tls.verify); /* Unless it is switched off by name. */
    assert_int_equal(c->clickhouse.port, 9440);
    config__free(c);
    put_env("CH_HOST", "elsewhere"); /* In place of the list as well. */
    c = load("clickhouse: {hosts: [a, b]}\n");
    assert_int_equal(c->clickhouse.n_hosts, 0);
    assert_string_equal(c->clickhouse.host, "elsewhere");
    config__free(c);
}

static void test_config_replaces_variables_in_values(void **state) {
    (void)state;
    put_env("PORT", "1234");
    put_env("EMPTY", "");
    put_env("ODD", "a: {b}, \"c\" # d");
    struct config *c = load("hub: {port: \"${PORT}\"}\nclickhouse:\n  port: ${NONE:-77}\n"
                            "  password: ${ODD}\n"
                            "state_dir: /${EMPTY:-x}/${PORT}${EMPTY}/\n");
    assert_int_equal(c->hub.port, 1234);
    assert_int_equal(c->clickhouse.port, 77);
    assert_string_equal(c->clickhouse.password, "a: {b}, \"c\" # d"); /* A value, never YAML. */
    assert_string_equal(c->state_dir, "/x/1234/");
    config__free(c);
}

/* Found by fuzz_config: what was printed did not load again, or loaded as something else. */
static void test_config_prints_what_reads_as_the_same(void **state) {
    (void)state;
    put_env("ODD", "${PORT}");
    struct config *c = load("agent: {project: \"a$${PORT}b\"}\nstate_dir: \"$$${x${ODD}\"\n");
    struct buf out = buf__init(1 << 20);
    assert_string_equal(c->agent.project, "a${PORT}b");
    assert_string_equal(c->state_dir, "$${x${PORT}");
    assert_int_equal(config__print(c, &out), 0);
    assert_true(buf__u8(&out, 0));
    struct config *again = load(out.base);
    assert_string_equal(again->agent.project, c->agent.project);
    assert_string_equal(again->state_dir, c->state_dir);
    config__free(again);
    config__free(c);
    buf__fini(&out);
}

static void test_config_reads_the_password_from_a_file(void **state) {
    char path[] = "/tmp/souk-test-XXXXXX", text[256];
    (void)state;
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "p w\n", 4), 4);
    close(fd);
    snprintf(text, sizeof text, "clickhouse: {password_file: %s}\n", path);
    struct config *c = load(text);
    assert_string_equal(c->clickhouse.password, "p w");
    struct buf out = buf__init(1 << 20);
    assert_int_equal(config__print(c, &out), 0);
    buf__u8(&out, 0);
    assert_null(strstr(out.base, "p w"));
    config__free(c);
    config__free(load(out.base));
    buf__fini(&out);
    unlink(path);
}

static void test_config_bounds_hostile_yaml(void **state) {
    struct config *c;
    (void)state;
    const char *bomb = "leagues: &a [x, y]\nsources:\n  psapi: {realms: *a}\n"
                       "  poe_ninja: {leagues: *a}\n";
    assert_int_equal(config__parse("f", slice__str(bomb), fake_env, &c, &errs), ERR_CONFIG);
    assert_non_null(strstr(errs.line[0], "f:1: sources.psapi.realms is an alias"));
    assert_int_equal(errs.n, 2);
    const char *loop = "hub: &a\n  host: *a\n";
    assert_int_equal(config__parse("f", slice__str(loop), fake_env, &c, &errs), ERR_CONFIG);
    char *big = malloc(CONFIG_BYTES_MAX + 2);
    memset(big, '#', CONFIG_BYTES_MAX + 1);
    struct slice over = slice__of(big, CONFIG_BYTES_MAX + 1),
                 fits = slice__of(big, CONFIG_BYTES_MAX);
    assert_int_equal(config__parse("f", over, fake_env, &c, &errs), ERR_LIMIT);
    assert_int_equal(errs.n, 1);
    assert_int_equal(config__parse("f", fits, fake_env, &c, &errs), 0);
    config__free(c);
    memset(big, '[', 100000); /* Deep nesting. */
    assert_int_equal(config__parse("f", slice__of(big, 100000), fake_env, &c, &errs), ERR_CONFIG);
    size_t n = (size_t)sprintf(big, "leagues: [");
    for (int i = 0; i < 20000; i++) n += (size_t)sprintf(big + n, "l%d,", i);
    n += (size_t)sprintf(big + n, "]\n");
    assert_int_equal(config__parse("f", slice__of(big, n), fake_env, &c, &errs), ERR_CONFIG);
    free(big);
}

static void test_config_load_says_what_a_file_lacks(void **state) {
    struct config *c;
    (void)state;
    assert_int_equal(config__load("/nonexistent/souk.yaml", &c, &errs), ERR_NOT_FOUND);
    assert_string_equal(errs.line[0], "/nonexistent/souk.yaml: No such file or directory");
    assert_int_equal(config__load("/tmp", &c, &errs), ERR_IO);
    assert_int_equal(errs.n, 1);
}

static void test_config_ships_a_file_that_loads(void **state) {
    const char *source = getenv("SOUK_SOURCE");
    char path[512];
    struct config *c;
    (void)state;
    if (source == NULL) skip();
    snprintf(path, sizeof path, "%s/deploy/souk.yaml", source);
    if (config__load(path, &c, &errs) != 0) fail_msg("%s", errs.line[0]);
    assert_string_equal(c->sources.psapi.base_url, "http://127.0.0.1:8787");
    /* It says that it shows the defaults: apart from what it marks, it does. */
    struct config *defaults =
        load("leagues: [Allflame, Standard]\n"
             "sources: {trade_data: {enabled: true}, currency_exchange: {enabled: true},\n"
             "  account_stashes: {enabled: true}, leagues: {enabled: true},\n"
             "  poe_ninja: {leagues: [Allflame, Standard],\n"
             "    kinds: [exchange/Currency, exchange/Fragment, exchange/Scarab,\n"
             "      item/UniqueWeapon]}}\n");
    struct buf a = buf__init(1 << 20), b = buf__init(1 << 20);
    assert_int_equal(config__print(c, &a), 0);
    assert_int_equal(config__print(defaults, &b), 0);
    assert_true(slice__eq(buf__slice(&a), buf__slice(&b)));
    buf__fini(&a);
    buf__fini(&b);
    config__free(c);
    config__free(defaults);
}

#define TEST(name) cmocka_unit_test_setup(name, clear_env)
static void test_what_can_be_listened_on_is_taken(void **state) {
    static const char *const hosts[] = {"127.0.0.1", "0.0.0.0", "'::1'", "'::'", "'fe80::1%eth0'",
                                        "'::ffff:192.0.2.1'", "192.0.2.255"};
    static const char *const names[] = {"db", "db.example", "'::1'", "192.0.2.1", "'[::1]'", "'db:9440'"};
    char text[64];
    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        snprintf(text, sizeof text, "hub:\n  host: %s\n", hosts[i]);
        config__free(load(text));
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(text, sizeof text, "clickhouse:\n  host: %s\n", names[i]);
        config__free(load(text));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_what_can_be_listened_on_is_taken),
        TEST(test_config_has_defaults_for_everything),
        TEST(test_config_prints_what_loads_again_without_secrets),
        TEST(test_config_names_every_error_with_its_line),
        TEST(test_config_says_where_the_yaml_breaks),
        TEST(test_config_reports_all_errors_at_once),
        TEST(test_config_lets_the_environment_override),
        TEST(test_config_asks_the_vendors_with_a_contact_only),
        TEST(test_config_reaches_clickhouse_as_it_is_told),
        TEST(test_config_replaces_variables_in_values),
        TEST(test_config_prints_what_reads_as_the_same),
        TEST(test_config_reads_the_password_from_a_file),
        TEST(test_config_bounds_hostile_yaml),
        TEST(test_config_load_says_what_a_file_lacks),
        TEST(test_config_ships_a_file_that_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
