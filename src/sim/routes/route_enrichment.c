/* Pages of community sites: /poedb/us/Currency_Exchange, an HTML table of what each thing costs in
 * gold, and /wiki/w/api.php?action=cargoquery&tables=mods, a MediaWiki Cargo answer
 * (https://www.mediawiki.org/wiki/Extension:Cargo). Neither announces limits; more than one request
 * in a second to one of them is a violation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sim.h"
#include "../world/catalogue.h"
#include "../world/exchange_markets.h"

enum { MODS = 1200, CARGO_LIMIT_MAX = 500, CARGO_FIELDS_MAX = 12 };

static void add_html(struct buf *b, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '\'') buf__adds(b, "&#039;");
        else buf__addc(b, *text);
    }
}

static void reply_gold(struct sim *s, const struct fault *f, struct reply *r) {
    struct buf b = {0};
    buf__adds(&b,
              "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Currency "
              "Exchange - PoEDB, simulated</title>\n<script>var t = \"<table><tr><td>no "
              "row</td></tr></table>\";</script></head>\n<body><!-- <tr><td>nor this</td></tr> "
              "-->\n<h5>Currency</h5>\n<table class=\"table table-hover\"><thead><tr><th>Name"
              "</th><th>Gold Fee</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < n_exchange_items; i++) {
        const struct exchange_item *it = &exchange_items[i];
        buf__addf(&b, "<tr><td><a class=\"item_currency\" href=\"/us/%s\">", it->trade_id);
        add_html(&b, it->name);
        if (it->gold < 1) buf__addf(&b, "</a></td><td>1/%.0f</td></tr>\n", 1 / it->gold);
        else buf__addf(&b, "</a></td><td>%.0f</td></tr>\n", it->gold);
    }
    buf__adds(&b, "</tbody></table>\n<p>Simulated: no data of poedb.</p></body></html>\n");
    r->status = 200;
    r->type = "text/html; charset=UTF-8";
    r->may_gzip = true;
    r->body = body__new(b.at, b.len);
    buf__fini(&b);
    if (!spoil_json(f, r, "<html><body><table></table></body></html>"))
        promise_body(s, r, LEDGER_POEDB, "Currency_Exchange", "");
}

/** One column that a Cargo query asks for: its name in the table, and how the answer calls it. */
struct column {
    char name[40], shown[40];
};

/** Read "id,stat_text=text". What has no alias is shown with blanks for underscores, as Cargo does.
 * @return the number of columns. */
static size_t read_columns(const char *fields, struct column out[CARGO_FIELDS_MAX]) {
    size_t n = 0;
    while (*fields != '\0' && n < CARGO_FIELDS_MAX) {
        size_t len = strcspn(fields, ",");
        const char *eq = memchr(fields, '=', len);
        size_t name = eq != NULL ? (size_t)(eq - fields) : len;
        const char *shown = eq != NULL ? eq + 1 : fields;
        size_t shown_len = eq != NULL ? len - name - 1 : len;
        if (name > 0 && name < sizeof out[0].name && shown_len < sizeof out[0].shown) {
            memcpy(out[n].name, fields, name);
            out[n].name[name] = '\0';
            memcpy(out[n].shown, shown, shown_len);
            out[n].shown[shown_len] = '\0';
            for (char *at = out[n].shown; eq == NULL && *at != '\0'; at++)
                if (*at == '_') *at = ' ';
            n++;
        }
        fields += len;
        fields += *fields == ',';
    }
    return n;
}

/** Write what column @name holds for modifier @i. */
static void mod_value(const char *name, unsigned i, char *out, size_t cap) {
    const struct mod_text *mod = &mod_texts[i % n_mod_texts];
    unsigned tier = 1 + i / (unsigned)n_mod_texts;
    if (strchr(name, '.') != NULL) name = strchr(name, '.') + 1; /* mods.id */
    if (strcmp(name, "id") == 0) {
        snprintf(out, cap, "SimulatedMod%u", i);
    } else if (strcmp(name, "stat_text") == 0 || strcmp(name, "stat_text_raw") == 0) {
        /* Some are written as wikis do: links, and line ends that are tags. */
        size_t n = i % 7 == 0 ? (size_t)snprintf(out, cap, "[[Stun|Stun]] threshold<br>") : 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(out + n, cap - n, mod->fmt, 1 + mod->max / tier, 1 + mod->max / tier);
#pragma GCC diagnostic pop
    } else if (strcmp(name, "mod_group") == 0 || strcmp(name, "mod_groups") == 0) {
        snprintf(out, cap, "SimulatedGroup%u", i % (unsigned)n_mod_texts);
    } else if (strcmp(name, "required_level") == 0) {
        snprintf(out, cap, "%u", 1 + tier * 12 % 84);
    } else if (strcmp(name, "domain") == 0 || strcmp(name, "generation_type") == 0) {
        snprintf(out, cap, "%u", 1 + i % 2);
    } else if (strcmp(name, "name") == 0) {
        snprintf(out, cap, "of the Simulator %u", tier);
    } else {
        out[0] = '\0';
    }
}

static void reply_mods(struct sim *s, const struct http_request *q, const struct fault *f,
                       struct reply *r) {
    struct column columns[CARGO_FIELDS_MAX];
    char fields[400] = "id,stat_text,mod_groups", number[16], value[200];
    unsigned long limit = 50, offset = 0;
    size_t n;
    struct buf b = {0};
    if (http__query(q, "fields", fields, sizeof fields) == -2) {
        reply_error(r, 400, 2, "Invalid query");
        return;
    }
    if (http__query(q, "limit", number, sizeof number) > 0) limit = strtoul(number, NULL, 10);
    if (http__query(q, "offset", number, sizeof number) > 0) offset = strtoul(number, NULL, 10);
    if (limit > CARGO_LIMIT_MAX) limit = CARGO_LIMIT_MAX;
    if (offset > MODS) offset = MODS;
    n = read_columns(fields, columns);
    buf__adds(&b, "{\"cargoquery\":[");
    for (unsigned i = (unsigned)offset; i < MODS && i < offset + limit; i++) {
        buf__adds(&b, i > offset ? ",{\"title\":{" : "{\"title\":{");
        for (size_t k = 0; k < n; k++) {
            mod_value(columns[k].name, i, value, sizeof value);
            if (k > 0) buf__addc(&b, ',');
            buf__add_json(&b, columns[k].shown, strlen(columns[k].shown));
            buf__addc(&b, ':');
            buf__add_json(&b, value, strlen(value));
        }
        buf__adds(&b, "}}");
    }
    buf__adds(&b, "]}");
    reply_text(r, 200, &b);
    if (!spoil_json(f, r, "{\"cargoquery\":{}}")) promise_body(s, r, LEDGER_WIKI, "mods", "");
}

void handle_enrichment(struct sim *s, const struct http_request *q, struct reply *r) {
    bool poedb = q->path.len > 6 && memcmp(q->path.at, "/poedb", 6) == 0;
    char action[32], tables[64];
    struct fault f;
    if (!pass_method(q, r) || !pass_pace(s, poedb ? &s->poedb : &s->wiki, q, r)) return;
    if (meet_fault(s, "enrichment", r, &f)) return;
    if (span__is(q->path, "/poedb/us/Currency_Exchange")) {
        reply_gold(s, &f, r);
    } else if (span__is(q->path, "/wiki/w/api.php") &&
               http__query(q, "action", action, sizeof action) > 0 &&
               strcmp(action, "cargoquery") == 0 &&
               http__query(q, "tables", tables, sizeof tables) > 0 && strcmp(tables, "mods") == 0) {
        reply_mods(s, q, &f, r);
    } else {
        reply_html(r, 404, "Not found");
    }
}
