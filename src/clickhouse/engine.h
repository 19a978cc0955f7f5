/**
 * The engine process: libchdb.so, run as `clickhouse local` with its listeners on, behind a
 * pseudo-terminal.
 *
 * The terminal and `--interactive` are needed: without a terminal clickhouse-local installs an
 * error handler that ends the whole process when a connection handler throws (ClickHouse issue
 * 115666), e.g. at a client's RST.
 */
#ifndef SOUK_CLICKHOUSE_ENGINE_H
#define SOUK_CLICKHOUSE_ENGINE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

enum {
    ENGINE_EXIT_NO_LIBRARY = 69
}; /* EX_UNAVAILABLE of sysexits.h; the child's exit code as well. */

struct engine {
    pid_t pid;       /* 0 when none runs. */
    int terminal_fd; /* Master side of the terminal, non-blocking, -1 when none. The owner drains
                        it. */
};

/**
 * Finds libchdb.so: @wanted if not NULL, else $SOUK_LIBCHDB, the folders beside the executable, and
 * the places where deploy/install puts it. A path that was named and is not there is not replaced
 * by another.
 * @path receives the result. @return whether there is one.
 */
bool engine__find_library(const char *wanted, char path[static PATH_MAX]);

struct engine_options {
    const char *library, *folder; /* libchdb.so; where config.xml lies, and db/. Borrowed. */
    bool http;                    /* Serve HTTP too. */
    bool may_connect;             /* The engine may open connections of its own. */
};

/**
 * Forks a child that loads the library and serves as config.xml says, until it is killed, confined
 * as sandbox.h says. It gets a SIGTERM when this process dies. The child keeps the lock of the
 * folder open, so that nobody starts beside a dying engine.
 * @return 0, or a negative errno.
 */
int engine__start(struct engine *engine, const struct engine_options *options);

/** Forgets a child that has been waited for, and closes its terminal. */
void engine__forget(struct engine *engine);

#endif
