/* What souk check --env looks at, one line each. */
#ifndef SOUK_CLI_CHECK_ENV_H
#define SOUK_CLI_CHECK_ENV_H

#include "../service/settings.h"
#include <stdbool.h>

#define CHECKS_MAX 64

enum check_result { CHECK_OK, CHECK_WARN, CHECK_FAIL };

struct check {
    char name[64]; /* E.g. clickhouse.version; stable. */
    enum check_result result;
    int exit_code;  /* Of a failure: 69, 73, 74 or 78. */
    char what[256]; /* What was found. */
    char hint[320]; /* What to do about it; "" when it is well. */
};

struct checks {
    struct check items[CHECKS_MAX];
    size_t n;
};

/** Looks at all that @settings names: state directory, disk, login, ClickHouse, upstreams; a login
 *  opens in @settings what it opens for souk run. Blocks, for as long as names are looked up and
 *  ClickHouse's time-outs. Changes nothing else. */
void check_env__run(struct settings *settings, struct checks *out);
/** Adds a warning for each door that @settings opens, or leaves without a key. */
void check_hub__run(const struct settings *settings, struct checks *out);
/** @return the exit code of the first failure, or 0. */
int check_env__exit_code(const struct checks *c);
/** @return how many are warnings. */
size_t check_env__n_warnings(const struct checks *c);

#endif
