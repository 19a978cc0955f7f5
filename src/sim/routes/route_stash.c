/* An account's stash: GET /stash/[realm/]{league} lists the tabs,
 * /stash/[realm/]{league}/{id}[/{sub}] shows one
 * (https://www.pathofexile.com/developer/docs/reference). Two policies that count for
 * the account; scope account:stashes. */
#include <string.h>

#include "../sim.h"
#include "../world/account.h"

enum { PARTS_MAX = 4 };

/** Read the path. @return the number of ids behind the league (0 to 2); -1 when it is none. */
static int read_path(struct span rest, char parts[PARTS_MAX][HTTP_SEGMENT_MAX], int *realm,
                     int *league) {
    int n = http__segments(rest, parts, PARTS_MAX);
    *realm = REALM_PC;
    *league = 0;
    if (n > 1 && sim__realm(parts[0]) > REALM_PC) *realm = sim__realm(parts[(*league)++]);
    if (n < 0 || n - *league < 1 || n - *league > 3) return -1;
    return n - *league - 1;
}

/** @return the list or the tab named by @n_ids ids; NULL when there is none. */
static struct body *find_body(const struct sim *s, const struct account_view *v, int n_ids,
                              char ids[][HTTP_SEGMENT_MAX]) {
    struct body *list = sim__recorded(s, "account", "list");
    if (list != NULL && n_ids == 0) return list;
    if (list != NULL) { /* A recorded account has no tabs in tabs. */
        body__unref(list);
        return n_ids == 1 ? sim__recorded(s, "account", ids[0]) : NULL;
    }
    return n_ids == 0 ? account__list(v) : account__tab(v, ids[0], n_ids == 2 ? ids[1] : NULL);
}

void handle_stash(struct sim *s, const struct http_request *q, struct span rest, struct reply *r) {
    char parts[PARTS_MAX][HTTP_SEGMENT_MAX];
    struct account_view v = {.seed = s->o->seed, .at_ns = sim__content_ns(s)};
    int league, n_ids = read_path(rest, parts, &v.realm, &league);
    struct limiter *l = n_ids > 0 ? &s->stash : &s->stash_list;
    struct fault f;
    if (!pass_method(q, r) || !pass_identity(s, q, "account:stashes", r)) return;
    if (answer_head(s, l, q, r) || !pass_limiter(s, l, q, r)) return;
    if (meet_fault(s, "account_stashes", r, &f)) return;
    if (n_ids < 0 || !sim__has_league(s, parts[league])) {
        reply_error(r, 404, 1, "Resource not found");
        return;
    }
    v.league = parts[league];
    r->body = find_body(s, &v, n_ids, parts + league + 1);
    if (r->body == NULL) {
        reply_error(r, 404, 1, "Resource not found");
        return;
    }
    r->status = 200;
    r->type = "application/json";
    r->may_gzip = true;
    if (!spoil_json(&f, r, n_ids == 0 ? "{\"stashes\":{}}" : "{\"stash\":[]}") && n_ids > 0)
        promise_body(s, r, LEDGER_ACCOUNT, parts[league + n_ids], v.league);
}
