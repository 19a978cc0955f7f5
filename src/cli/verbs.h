/* What the verbs share. */
#ifndef SOUK_CLI_VERBS_H
#define SOUK_CLI_VERBS_H

#include "../service/settings.h"
#include <stdbool.h>

enum {
    EXIT_USAGE = 2,
    EXIT_WARNINGS = 3,
    EXIT_UNAVAILABLE = 69,
    EXIT_CANT_CREATE = 73,
    EXIT_IO = 74,
    EXIT_LOCKED = 75,
    EXIT_REFUSED = 77,
    EXIT_CONFIG = 78
};

/* What stands in front of the verb. */
struct command {
    const char *config_path, *log_format;
    const char *verb;
    bool json; /* --json may also stand behind the verb. */
};

/** Loads the configuration and sets up the log. On failure all errors are printed. @return 0 or an
 * exit code. */
int load_config(const struct command *c, struct settings *out);
/** Has @settings go by the login of its state directory. @return 0; ERR_NOT_FOUND when nobody is
 *  logged in; or an error with @e: it is not used. Of one process, one login. */
int take_login(struct settings *settings, struct err *e);
/** @return the configuration's path: --config, souk.yaml, /etc/souk/souk.yaml. */
const char *find_config(const struct command *c);
/** Parses 90, 90s, 5m, 2h, 7d, 500ms into nanoseconds. @return false when it is none of these. */
bool parse_duration(const char *text, int64_t *out_ns);
/** After getopt said what is wrong with an option: names the help. @return EXIT_USAGE. */
int refuse_option(const struct command *c);
/** Says that a verb does not take what getopt left behind optind. @return EXIT_USAGE, or 0 when
 *  there is nothing. */
int refuse_rest(const struct command *c, int argc, char **argv);
/** Prints @e to standard error as one line: what servers say can have several. */
void print_error(const struct err *e);
/** @return the exit code that says what kind of error @code is. */
int exit_code_of(int code);

int verb_backfill(struct command *c, int argc, char **argv);
int verb_check(struct command *c, int argc, char **argv);
int verb_ctl(struct command *c, int argc, char **argv);
int verb_cursor(struct command *c, int argc, char **argv);
int verb_limit(struct command *c, int argc, char **argv);
int verb_login(struct command *c, int argc, char **argv);
int verb_logout(struct command *c, int argc, char **argv);
int verb_poll(struct command *c, int argc, char **argv);
int verb_replay(struct command *c, int argc, char **argv);
int verb_run(struct command *c, int argc, char **argv);
int verb_schema(struct command *c, int argc, char **argv);
int verb_status(struct command *c, int argc, char **argv);
int verb_verify(struct command *c, int argc, char **argv);
int verb_version(struct command *c, int argc, char **argv);
int verb_wal(struct command *c, int argc, char **argv);
extern const char verb_backfill_help[], verb_check_help[], verb_ctl_help[], verb_cursor_help[],
    verb_limit_help[], verb_login_help[], verb_logout_help[], verb_poll_help[], verb_replay_help[],
    verb_run_help[], verb_schema_help[], verb_status_help[], verb_verify_help[],
    verb_version_help[], verb_wal_help[];

#endif
