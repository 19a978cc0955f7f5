/* The command line of souk-sim. */
#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include "wire/sim_buf.h"

enum { OPTIONS_LEAGUES_MAX = 14 };

struct options {
    const char *host;
    int port; /* 0 lets the system pick one. */
    uint64_t seed;
    const char *state_dir, *replay_dir; /* NULL when not given. */
    double speed;
    struct span leagues[OPTIONS_LEAGUES_MAX];
    size_t n_leagues;
    bool quiet, limits, rate_max, require_token, gzip, help, version;
    int64_t delay_ms;
    double changes_per_s;
    int64_t page_changes, backlog;
    int64_t hidden_bucket_ms, ninja_rebuild_s, clock_offset_s;
    const char *psapi_limits; /* Triples. */
    const char *scopes;       /* Granted ones, by commas; "none". */
    const char *client;       /* ID:SECRET; NULL takes any id with sim-secret. */
    int64_t token_life_s, cx_late_s, cx_history_h;
    bool trade_etag;
};
/** Read @argv. Everything borrows from it. @return 0, or -1 naming the option that is wrong. */
int options__parse(struct options *o, int argc, char **argv, struct sim_err *e);
/** @return whether @list, scopes by commas or "none", names only scopes that exist. */
bool scopes__are_known(const char *list);
/** @return the text of --help. */
const char *options__help(void);

#endif
