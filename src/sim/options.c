/* See options.h. Every option takes its value from the next word. */
#include "options.h"

#include <stdlib.h>
#include <string.h>

static const char help[] =
    "souk-sim: simulated market APIs for souk, with their limits, their faults and a ledger of "
    "what they said\n"
    "\n"
    "  souk-sim --port N [options]          serve\n"
    "  souk-sim audit --ledger FILE ...     compare a ledger with ClickHouse (souk-sim audit "
    "--help)\n"
    "\n"
    "  --port N              listen here; 0 picks a free port and the ready line tells it\n"
    "  --host ADDRESS        IPv4 address (127.0.0.1)\n"
    "  --seed N              same seed, same market (1)\n"
    "  --state DIR           keep ledger.tsv, violations.jsonl and all pages here; a restart goes "
    "on\n"
    "  --replay DIR          serve what DIR has of psapi/page*.json, ninja/exchange.json, "
    "item.json, "
    "item@TYPE.json, trade/static.json, cx/, account/ (with or without .gz) instead of a market\n"
    "  --speed X             run the clock X times as fast (1)\n"
    "  --clock-offset N      seconds that its wall clock, and so its Date header, is ahead (0)\n"
    "  --leagues A,B         (Allflame,Hardcore Allflame,Standard,Hardcore)\n"
    "  --rate N|max          changes a second (11), or a full new page for each request\n"
    "  --page-changes N      most changes in a page (500)\n"
    "  --backlog N           changes that wait at the first start (2000)\n"
    "  --limits on|off       enforce and announce rate limits (on)\n"
    "  --psapi-limits T      limit:period:restriction[,...] of the river (2:1:60)\n"
    "  --hidden-bucket-ms N  what the limiter rounds expiry up to in its first window (5000); 0 "
    "counts exactly\n"
    "  --ninja-rebuild N     seconds between two builds of poe.ninja (60)\n"
    "  --require-token       the API paths answer 401 without a token of POST /oauth/token, 403 "
    "without its scope\n"
    "  --scopes A,B|none     scopes that the client was granted (service:psapi,service:cxapi,\n"
    "                        service:leagues,account:stashes)\n"
    "  --client ID:SECRET    the only client (any id with the secret sim-secret)\n"
    "  --token-life N        seconds that a token lasts (2419200)\n"
    "  --cx-late N           seconds after its end at which an hour of the exchange is published "
    "(180)\n"
    "  --cx-history N        hours that the exchange has from before the first start (48)\n"
    "  --trade-etag          /api/trade/data sends ETag and answers 304\n"
    "  --delay-ms N          wait before each reply (0)\n"
    "  --no-gzip             never compress\n"
    "  --quiet               print nothing but errors\n"
    "  --help, --version\n"
    "\n"
    "Control: GET /_sim/status, POST and DELETE /_sim/fault, POST /_sim/freeze {\"on\":true}, POST "
    "/_sim/stop.\n";

const char *options__help(void) { return help; }

static int number(const char *name, const char *text, int64_t min, int64_t max, int64_t *out,
                  struct sim_err *e) {
    char *end;
    long long v = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0' || v < min || v > max)
        return sim_err__setf(e, "%s %s: wanted a number from %lld to %lld", name, text,
                             (long long)min, (long long)max);
    *out = v;
    return 0;
}

static int real(const char *name, const char *text, double min, double max, double *out,
                struct sim_err *e) {
    char *end;
    double v = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !(v >= min && v <= max))
        return sim_err__setf(e, "%s %s: wanted a number from %g to %g", name, text, min, max);
    *out = v;
    return 0;
}

static int leagues(struct options *o, const char *text, struct sim_err *e) {
    o->n_leagues = 0;
    for (const char *at = text;;) {
        const char *comma = strchr(at, ',');
        size_t n = comma != NULL ? (size_t)(comma - at) : strlen(at);
        if (n == 0 || n > 64 || o->n_leagues == OPTIONS_LEAGUES_MAX)
            return sim_err__setf(e, "--leagues %s: wanted 1 to %d names of 1 to 64 bytes", text,
                                 OPTIONS_LEAGUES_MAX);
        o->leagues[o->n_leagues++] = (struct span){at, n};
        if (comma == NULL) return 0;
        at = comma + 1;
    }
}

static int take_value(struct options *o, const char *name, const char *v, struct sim_err *e) {
    int64_t n = 0;
    int rc = 0;
    if (strcmp(name, "--port") == 0) {
        rc = number(name, v, 0, 65535, &n, e);
        o->port = (int)n;
    } else if (strcmp(name, "--host") == 0) {
        o->host = v;
    } else if (strcmp(name, "--seed") == 0) {
        rc = number(name, v, 0, INT64_MAX, &n, e);
        o->seed = (uint64_t)n;
    } else if (strcmp(name, "--state") == 0) {
        o->state_dir = v;
    } else if (strcmp(name, "--replay") == 0) {
        o->replay_dir = v;
    } else if (strcmp(name, "--speed") == 0) {
        rc = real(name, v, 0.001, 1e6, &o->speed, e);
    } else if (strcmp(name, "--leagues") == 0) {
        rc = leagues(o, v, e);
    } else if (strcmp(name, "--rate") == 0) {
        o->rate_max = strcmp(v, "max") == 0;
        if (!o->rate_max) rc = real(name, v, 0, 1e7, &o->changes_per_s, e);
    } else if (strcmp(name, "--page-changes") == 0) {
        rc = number(name, v, 1, 2000, &o->page_changes, e);
    } else if (strcmp(name, "--backlog") == 0) {
        rc = number(name, v, 0, INT64_C(1000000000), &o->backlog, e);
    } else if (strcmp(name, "--limits") == 0) {
        if (strcmp(v, "on") != 0 && strcmp(v, "off") != 0)
            return sim_err__setf(e, "--limits %s: wanted on or off", v);
        o->limits = strcmp(v, "on") == 0;
    } else if (strcmp(name, "--psapi-limits") == 0) {
        o->psapi_limits = v;
    } else if (strcmp(name, "--scopes") == 0) {
        if (!scopes__are_known(v))
            return sim_err__setf(e, "--scopes %s: wanted scopes by commas, or none", v);
        o->scopes = v;
    } else if (strcmp(name, "--client") == 0) {
        if (strchr(v, ':') == NULL) return sim_err__setf(e, "--client %s: wanted ID:SECRET", v);
        o->client = v;
    } else if (strcmp(name, "--token-life") == 0) {
        rc = number(name, v, 1, 100000000, &o->token_life_s, e);
    } else if (strcmp(name, "--cx-late") == 0) {
        rc = number(name, v, 0, 86400, &o->cx_late_s, e);
    } else if (strcmp(name, "--cx-history") == 0) {
        rc = number(name, v, 1, 100000, &o->cx_history_h, e);
    } else if (strcmp(name, "--hidden-bucket-ms") == 0) {
        rc = number(name, v, 0, 3600000, &o->hidden_bucket_ms, e);
    } else if (strcmp(name, "--ninja-rebuild") == 0) {
        rc = number(name, v, 1, 86400, &o->ninja_rebuild_s, e);
    } else if (strcmp(name, "--clock-offset") == 0) {
        rc = number(name, v, -INT64_C(1000000000), INT64_C(1000000000), &o->clock_offset_s, e);
    } else if (strcmp(name, "--delay-ms") == 0) {
        rc = number(name, v, 0, 3600000, &o->delay_ms, e);
    } else {
        rc = sim_err__setf(e, "%s: no such option", name);
    }
    return rc;
}

int options__parse(struct options *o, int argc, char **argv, struct sim_err *e) {
    *o = (struct options){.host = "127.0.0.1",
                          .port = -1,
                          .seed = 1,
                          .speed = 1,
                          .limits = true,
                          .changes_per_s = 11,
                          .page_changes = 500,
                          .backlog = 2000,
                          .hidden_bucket_ms = 5000,
                          .ninja_rebuild_s = 60,
                          .psapi_limits = "2:1:60",
                          .scopes = "service:psapi,service:cxapi,service:leagues,account:stashes",
                          .token_life_s = 28 * 86400,
                          .cx_late_s = 180,
                          .cx_history_h = 48,
                          .gzip = true};
    leagues(o, "Allflame,Hardcore Allflame,Standard,Hardcore", NULL);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) o->help = true;
        else if (strcmp(argv[i], "--version") == 0) o->version = true;
        else if (strcmp(argv[i], "--quiet") == 0) o->quiet = true;
        else if (strcmp(argv[i], "--require-token") == 0) o->require_token = true;
        else if (strcmp(argv[i], "--no-gzip") == 0) o->gzip = false;
        else if (strcmp(argv[i], "--trade-etag") == 0) o->trade_etag = true;
        else if (i + 1 == argc)
            return sim_err__setf(e, "%s: no such option, or its value is missing", argv[i]);
        else if (take_value(o, argv[i], argv[i + 1], e) != 0) return -1;
        else i++;
    }
    if (o->help || o->version) return 0;
    if (o->port < 0) return sim_err__setf(e, "--port is missing");
    return 0;
}
