/* Leagues: GET /league of the OAuth API (scope service:leagues) and the old public list under
 * /api/leagues and /leagues, which is a bare array
 * (https://www.pathofexile.com/developer/docs/reference#leagues). Every league of --leagues is
 * there with its Solo Self-Found twin, and one event with two rules. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../sim.h"

/** Add a time of the vendor's form, or null. */
static void add_time(struct buf *b, const char *name, int64_t s) {
    char text[32];
    time_t t = (time_t)s;
    struct tm utc;
    gmtime_r(&t, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    buf__addf(b, s > 0 ? ",\"%s\":\"%s\"" : ",\"%s\":null", name, text);
}

/** One league. @rules is bits: 1 Hardcore, 2 SSF, 4 an event. */
static void add_league(struct buf *b, const char *realm, const char *name, int64_t start_s,
                       int64_t end_s, unsigned rules, bool first) {
    static const char *const texts[] = {
        "{\"id\":\"Hardcore\",\"name\":\"Hardcore\",\"description\":\"A character killed in "
        "Hardcore is moved to its parent league.\"}",
        "{\"id\":\"NoParties\",\"name\":\"Solo\",\"description\":\"You may not party in this "
        "league.\"}"};
    bool first_rule = true;
    if (!first) buf__addc(b, ',');
    buf__adds(b, "{\"id\":");
    buf__add_json(b, name, strlen(name));
    buf__addf(b, ",\"realm\":\"%s\",\"name\":", realm);
    buf__add_json(b, name, strlen(name));
    buf__adds(b, ",\"description\":\"A league of the simulator.\",\"category\":{\"id\":");
    buf__add_json(b, end_s > 0 ? "Simulated" : "Standard", end_s > 0 ? 9 : 8);
    buf__adds(b, end_s > 0 ? ",\"current\":true}" : "}");
    buf__adds(b, ",\"url\":\"https://www.pathofexile.com/forum/view-thread/1\"");
    if ((rules & 4) != 0) {
        add_time(b, "registerAt", start_s - 7 * 86400);
        buf__adds(b, ",\"event\":true,\"timedEvent\":true");
    }
    add_time(b, "startAt", start_s);
    add_time(b, "endAt", end_s);
    buf__adds(b, ",\"delveEvent\":true,\"rules\":[");
    for (unsigned i = 0; i < 2; i++) {
        if ((rules & 1u << i) == 0) continue;
        buf__addf(b, "%s%s", first_rule ? "" : ",", texts[i]);
        first_rule = false;
    }
    buf__adds(b, "]}");
}

/** Add all leagues of a realm. Standard and Hardcore never end; the others began some weeks ago. */
static void add_leagues(const struct sim *s, const char *realm, struct buf *b) {
    int64_t began_s = s->ninja_start_ns / SIM_NS_PER_S / 86400 * 86400 - 20 * 86400;
    for (size_t i = 0; i < s->o->n_leagues; i++) {
        struct span l = s->o->leagues[i];
        bool lasts = span__is(l, "Standard") || span__is(l, "Hardcore");
        unsigned hc = l.len >= 8 && memcmp(l.at, "Hardcore", 8) == 0;
        int64_t start_s = lasts ? 1358974800 : began_s, end_s = lasts ? 0 : began_s + 120 * 86400;
        char name[96];
        snprintf(name, sizeof name, "%.*s", (int)l.len, l.at);
        add_league(b, realm, name, start_s, end_s, hc, i == 0);
        snprintf(name, sizeof name, "SSF %.*s", (int)l.len, l.at);
        add_league(b, realm, name, start_s, end_s, hc | 2, false);
    }
    add_league(b, realm, "Simulated Gauntlet (PL777)", began_s + 86400, began_s + 30 * 86400, 7,
               s->o->n_leagues == 0);
}

/** Answer both forms once the way is open. */
static void reply_leagues(struct sim *s, const struct http_request *q, bool bare, struct reply *r) {
    struct buf b = {0};
    struct fault f;
    char realm[16] = "pc";
    if (meet_fault(s, "leagues", r, &f)) return;
    if (http__query(q, "realm", realm, sizeof realm) == -2 || sim__realm(realm) < 0) {
        reply_error(r, 400, 2, "Invalid query");
        return;
    }
    buf__adds(&b, bare ? "[" : "{\"leagues\":[");
    add_leagues(s, realm, &b);
    buf__adds(&b, bare ? "]" : "]}");
    reply_text(r, 200, &b);
    if (!spoil_json(&f, r, "{\"leagues\":{}}")) promise_body(s, r, LEDGER_LEAGUES, realm, "");
}

void handle_league(struct sim *s, const struct http_request *q, struct reply *r) {
    if (pass_method(q, r) && pass_identity(s, q, "service:leagues", r) &&
        !answer_head(s, &s->leagues, q, r) && pass_limiter(s, &s->leagues, q, r))
        reply_leagues(s, q, false, r);
}

void handle_leagues(struct sim *s, const struct http_request *q, struct reply *r) {
    char type[16] = "main";
    if (!pass_method(q, r) || answer_head(s, &s->leagues, q, r) ||
        !pass_limiter(s, &s->leagues, q, r))
        return;
    if (http__query(q, "type", type, sizeof type) == -2 || strcmp(type, "main") != 0)
        reply_error(r, 400, 2, "Invalid query");
    else reply_leagues(s, q, true, r);
}
