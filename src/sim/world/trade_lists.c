/* See trade_data.h. */
#include "trade_lists.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "catalogue.h"
#include "economy.h"
#include "exchange_markets.h"

/** Add {"id":..,"text":..}, after a comma unless it is the first. */
static void add_entry(struct buf *b, bool *first, const char *id, const char *text) {
    if (!*first) buf__addc(b, ',');
    *first = false;
    buf__adds(b, "{\"id\":");
    buf__add_json(b, id, strlen(id));
    buf__adds(b, ",\"text\":");
    buf__add_json(b, text, strlen(text));
    buf__addc(b, '}');
}

/** Things by their trade ids, an entry that is new in this version, and separators without text. */
static void add_static(struct buf *b, int64_t version) {
    char id[40], text[40];
    bool first = true;
    buf__adds(b, "{\"id\":\"Currency\",\"label\":\"Currency\",\"entries\":[");
    for (size_t i = 0; i < n_exchange_items; i++) {
        if (i == 3) add_entry(b, &first, "sep", "");
        add_entry(b, &first, exchange_items[i].trade_id, exchange_items[i].name);
    }
    snprintf(id, sizeof id, "simulated-orb-%" PRId64, version);
    snprintf(text, sizeof text, "Simulated Orb %" PRId64, version);
    add_entry(b, &first, id, text);
    buf__adds(b, "]},{\"id\":\"Cards\",\"label\":\"Divination Cards\",\"entries\":[");
    first = true;
    for (size_t i = 0; i < n_catalogue; i++)
        if (catalogue[i].kind == ITEM_CARD)
            add_entry(b, &first, catalogue[i].ninja_id, catalogue[i].type_line);
    buf__adds(b,
              "]},{\"id\":\"Misc\",\"label\":null,\"entries\":[{\"id\":\"sep\",\"text\":\"\"}]}");
}

static void add_items(struct buf *b, int64_t version) {
    bool first = true;
    buf__adds(b, "{\"id\":\"accessory\",\"label\":\"Equipment\",\"entries\":[");
    for (size_t i = 0; i < n_catalogue; i++) {
        const struct catalogue_item *c = &catalogue[i];
        if (c->kind != ITEM_UNIQUE && c->kind != ITEM_RARE) continue;
        buf__adds(b, first ? "{" : ",{");
        first = false;
        if (c->kind == ITEM_UNIQUE) {
            buf__adds(b, "\"name\":");
            buf__add_json(b, c->name, strlen(c->name));
            buf__addf(b, ",\"text\":\"%s %s\",\"flags\":{\"unique\":true},", c->name, c->type_line);
        }
        buf__adds(b, "\"type\":");
        buf__add_json(b, c->type_line, strlen(c->type_line));
        buf__addc(b, '}');
    }
    buf__addf(b,
              ",{\"type\":\"Simulated Ring %" PRId64 "\"}]},{\"id\":\"gem\",\"label\":\"Gems\","
              "\"entries\":[{\"type\":\"Empower Support\"},{\"type\":\"Vaal Grace\",\"disc\":"
              "\"alt_x\",\"text\":\"Vaal Grace of the Simulator\"}]}",
              version);
}

static void add_stats(struct buf *b, int64_t version) {
    static const char *const groups[][2] = {{"Explicit", "explicit"}, {"Implicit", "implicit"}};
    for (size_t g = 0; g < 2; g++) {
        buf__addf(b, "%s{\"id\":\"%s\",\"label\":\"%s\",\"entries\":[", g > 0 ? "," : "",
                  groups[g][1], groups[g][0]);
        for (size_t i = 0; i < n_mod_texts; i++) {
            buf__addf(b, "%s{\"id\":\"%s.stat_%u\",\"text\":", i > 0 ? "," : "", groups[g][1],
                      (unsigned)(mix64(i, 31) % 4000000000u));
            buf__addc(b, '"');
            for (const char *at = mod_texts[i].fmt; *at != '\0'; at++) {
                if (at[0] == '%' && at[1] == 'u') buf__addc(b, '#'), at++;
                else if (at[0] == '%' && at[1] == '%') buf__addc(b, '%'), at++;
                else buf__addc(b, *at);
            }
            buf__addf(b, "\",\"type\":\"%s\"}", groups[g][1]);
        }
        buf__addf(b, "%s]}",
                  g > 0 ? ",{\"id\":\"implicit.stat_1\",\"text\":\"Has #\",\"type\":\"implicit\","
                          "\"option\":{\"options\":[{\"id\":1,\"text\":\"a thing\"}]}}"
                        : "");
    }
    buf__addf(b,
              ",{\"id\":\"pseudo\",\"label\":\"Pseudo\",\"entries\":[{\"id\":\"pseudo.sim_%" PRId64
              "\",\"text\":\"# simulated\",\"type\":\"pseudo\"}]}",
              version);
}

static void add_leagues(struct buf *b, const struct span *leagues, size_t n, int64_t version) {
    for (size_t i = 0; i < n; i++) {
        buf__adds(b, i > 0 ? ",{\"id\":" : "{\"id\":");
        buf__add_json(b, leagues[i].at, leagues[i].len);
        buf__adds(b, ",\"realm\":\"pc\",\"text\":");
        buf__add_json(b, leagues[i].at, leagues[i].len);
        buf__addc(b, '}');
    }
    buf__addf(b, ",{\"id\":\"Event %" PRId64 "\",\"realm\":\"pc\",\"text\":\"Event\"}", version);
}

static void add_filters(struct buf *b, int64_t version) {
    buf__addf(
        b,
        "{\"id\":\"status_filters\",\"title\":\"Status\",\"hidden\":true,\"filters\":[{\"id\":"
        "\"status\",\"option\":{\"options\":[{\"id\":\"any\",\"text\":\"Any\"},{\"id\":\"online\","
        "\"text\":\"In Person (Online)\"},{\"id\":\"securable\",\"text\":\"Instant Buyout\"}]}}]},{"
        "\"id\":\"armour_filters\",\"title\":\"Armour Filters\",\"filters\":[{\"id\":\"ar\","
        "\"text\":\"Armour\",\"minMax\":true},{\"id\":\"ev\",\"text\":\"Evasion\",\"minMax\":true},"
        "{\"id\":\"sim_%" PRId64 "\",\"text\":\"Simulated\",\"minMax\":true}]}",
        version);
}

static struct body *finished(struct buf *b) {
    struct body *out = body__new(b->at, b->len);
    buf__fini(b);
    return out;
}

struct body *trade__resource(const char *name, const struct span *leagues, size_t n_leagues,
                             int64_t version) {
    struct buf b = {0};
    buf__adds(&b, "{\"result\":[");
    if (strcmp(name, "static") == 0) add_static(&b, version);
    else if (strcmp(name, "items") == 0) add_items(&b, version);
    else if (strcmp(name, "stats") == 0) add_stats(&b, version);
    else if (strcmp(name, "leagues") == 0) add_leagues(&b, leagues, n_leagues, version);
    else if (strcmp(name, "filters") == 0) add_filters(&b, version);
    else {
        buf__fini(&b);
        return NULL;
    }
    buf__adds(&b, "]}");
    return finished(&b);
}

static void add_time(struct buf *b, const char *name, int64_t s) {
    char text[32];
    time_t t = (time_t)s;
    struct tm utc;
    gmtime_r(&t, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    buf__addf(b, ",\"%s\":\"%s\"", name, text);
}

static void add_listing(struct buf *b, uint64_t seed, struct span league, uint64_t serial,
                        int64_t made_s) {
    const struct catalogue_item *c = &catalogue[mix64(seed, serial + 5) % n_catalogue];
    uint64_t h = mix64(seed, serial);
    int64_t listed_s = made_s - (int64_t)(h % 300);
    buf__adds(b, "{\"trade_id\":\"");
    id__render(seed, 'T', serial, b);
    buf__adds(b, "\",\"item_id\":\"");
    id__render(seed, 'I', serial / 2, b);
    buf__adds(b, "\",\"item_type\":");
    buf__add_json(b, c->type_line, strlen(c->type_line));
    buf__addf(b, ",\"trade_category\":\"%s\",\"realm\":\"pc\",\"league\":", c->category);
    buf__add_json(b, league.at, league.len);
    add_time(b, "listing_ts", listed_s);
    if (h % 3 == 0)
        add_time(b, "delist_ts", listed_s + (int64_t)(h >> 32) % (made_s - listed_s + 1));
    buf__addf(b,
              ",\"trade_data_hash\":\"%016" PRIx64 "\",\"price_change_flag\":%s,\"price\":{"
              "\"amount\":%u,\"currency\":\"chaos\"}}",
              mix64(h, 3), h % 5 == 0 ? "true" : "false", 1 + (unsigned)(h % 90));
}

struct body *trade__page(uint64_t seed, const struct span *leagues, size_t n_leagues, uint64_t page,
                         int64_t start_s) {
    struct buf b = {0};
    int64_t made_s = start_s + (int64_t)page * TRADE_PAGE_S;
    buf__adds(&b, "{\"result\":[");
    for (uint64_t i = 0; i < TRADE_PAGE_ROWS; i++) {
        uint64_t serial = page * TRADE_PAGE_ROWS + i;
        if (i > 0) buf__addc(&b, ',');
        add_listing(&b, seed, leagues[serial % n_leagues], serial, made_s);
    }
    buf__addf(&b, "],\"next_cursor\":\"sim-%" PRIu64 "\"}", page + 1);
    return finished(&b);
}

struct body *trade__end(uint64_t page) {
    struct buf b = {0};
    buf__addf(&b, "{\"result\":[],\"next_cursor\":\"sim-%" PRIu64 "\"}", page);
    return finished(&b);
}

bool trade__cursor(const char *text, uint64_t *page) {
    int used = 0;
    *page = 0;
    if (*text == '\0') return true;
    return sscanf(text, "sim-%18" SCNu64 "%n", page, &used) == 1 && text[used] == '\0';
}
