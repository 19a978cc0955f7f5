/*
 * Starts the engine. The happy path: find the library, fork with a terminal, load it in the child,
 * call its command-line entry, which returns when the engine ends. What can fail: no library (one
 * line, exit 69), a library that does not load or lacks the entry (the child says so on the
 * launcher's standard error and exits 69), no terminal.
 */
#include "engine.h"

#include "sandbox.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <termios.h>
#include <unistd.h>

#if defined(__aarch64__)
#define LIBRARY_ARCH "arm64"
#else
#define LIBRARY_ARCH "x64"
#endif

static const char *const library_folders[] = {
    "/usr/local/lib/souk/node_modules/@chdb/lib-linux-" LIBRARY_ARCH "-gnu",
    "/usr/lib/souk/node_modules/@chdb/lib-linux-" LIBRARY_ARCH "-gnu",
    "/usr/local/lib/souk",
    "/usr/lib/souk",
};

static bool library_in(const char *folder, char path[static PATH_MAX]) {
    int n = snprintf(path, PATH_MAX, "%s/libchdb.so", folder);
    return n > 0 && n < PATH_MAX && access(path, R_OK) == 0;
}

bool engine__find_library(const char *wanted, char path[static PATH_MAX]) {
    if (wanted == NULL) wanted = getenv("SOUK_LIBCHDB");
    if (wanted != NULL && wanted[0] != '\0') {
        int n = snprintf(path, PATH_MAX, "%s", wanted);
        return n < PATH_MAX && access(path, R_OK) == 0;
    }
    char folder[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (n > 0) {
        folder[n] = '\0';
        *strrchr(folder, '/') = '\0';
        static const char beside[] = "/../lib/souk";
        if (strlen(folder) + sizeof beside <= sizeof folder) {
            strcat(folder, beside);
            if (library_in(folder, path)) return true;
        }
    }
    for (size_t i = 0; i < sizeof library_folders / sizeof library_folders[0]; i++)
        if (library_in(library_folders[i], path)) return true;
    return false;
}

/* In the child. Its standard streams are the terminal; @error_fd is the launcher's standard error.
 */
static _Noreturn void run_child(pid_t parent, const struct engine_options *o, int error_fd) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(0); /* It died before the line above. */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    char home[PATH_MAX], config_option[PATH_MAX + 32];
    snprintf(home, sizeof home, "%s/db", o->folder);
    snprintf(config_option, sizeof config_option, "--config-file=%s/config.xml", o->folder);
    sandbox__clear_environment(home);
    const char *open_still = sandbox__enter(o->folder, o->library, o->may_connect);
    if (open_still != NULL) dprintf(error_fd, "souk-clickhouse: %s\n", open_still);

    void *handle = dlopen(o->library, RTLD_NOW | RTLD_LOCAL);
    void *symbol = handle != NULL ? dlsym(handle, "chdb_query_cmdline") : NULL;
    if (symbol == NULL) {
        dprintf(error_fd, "souk-clickhouse: %s\n", dlerror());
        _exit(ENGINE_EXIT_NO_LIBRARY);
    }
    close(error_fd);
    void *(*query_cmdline)(int, char **);
    memcpy(&query_cmdline, &symbol,
           sizeof query_cmdline); /* ISO C has no cast from object to function pointer. */

    /* Suggestions for the line editor would be asked for by a session of their own. */
    char name[] = "clickhouse", interactive[] = "--interactive",
         no_suggestions[] = "--disable_suggestion", query[] = "--query";
    char start_tcp[] = "SYSTEM START LISTEN TCP", start_http[] = "SYSTEM START LISTEN HTTP";
    /* TCP last: once it answers, both listen. */
    char *with_http[] = {name,  config_option, interactive, no_suggestions, query, start_http,
                         query, start_tcp,     NULL};
    char *tcp_only[] = {name, config_option, interactive, no_suggestions, query, start_tcp, NULL};
    char **argv = o->http ? with_http : tcp_only;
    int argc = o->http ? 8 : 6;
    query_cmdline(argc, argv);
    _exit(0);
}

int engine__start(struct engine *engine, const struct engine_options *options) {
    *engine = (struct engine){.terminal_fd = -1};
    struct termios raw = {.c_cflag = CS8 | CREAD};
    raw.c_cc[VMIN] = 1;
    struct winsize size = {.ws_row = 24, .ws_col = 500};
    int error_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    pid_t parent = getpid();
    int master = -1;
    pid_t pid = forkpty(&master, NULL, &raw, &size);
    if (pid == 0) run_child(parent, options, error_fd);
    int code = pid < 0 ? -errno : 0;
    if (error_fd >= 0) close(error_fd);
    if (code != 0) return code;
    fcntl(master, F_SETFL, fcntl(master, F_GETFL) | O_NONBLOCK);
    fcntl(master, F_SETFD, FD_CLOEXEC);
    engine->pid = pid;
    engine->terminal_fd = master;
    return 0;
}

void engine__forget(struct engine *engine) {
    if (engine->terminal_fd >= 0) close(engine->terminal_fd);
    *engine = (struct engine){.terminal_fd = -1};
}
