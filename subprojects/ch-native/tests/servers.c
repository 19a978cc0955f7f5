#include "servers.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char old_server_path[] = "/usr/sbin/clickhouse-server";

static const char old_config[] =
    "<yandex>\n"
    "  "
    "<logger><level>warning</level><log>%s/server.log</log><errorlog>%s/error.log</errorlog></"
    "logger>\n"
    "  <tcp_port>%u</tcp_port><http_port>%u</http_port><listen_host>127.0.0.1</listen_host>\n"
    "  <path>%s/data/</path><tmp_path>%s/tmp/</tmp_path>\n"
    "  <users_config>%s/users.xml</users_config>\n"
    "  <default_profile>default</default_profile><default_database>default</default_database>\n"
    "  <mark_cache_size>5368709</mark_cache_size>\n"
    "  <max_concurrent_queries>50</max_concurrent_queries>\n"
    "%s</yandex>\n";

static const char old_secure[] =
    "  <tcp_port_secure>%u</tcp_port_secure>\n"
    "  <openSSL><server><certificateFile>%s</certificateFile><privateKeyFile>%s</privateKeyFile>"
    "<verificationMode>none</verificationMode><disableProtocols>sslv2,sslv3</disableProtocols>"
    "</server></openSSL>\n";

static const char old_users[] =
    "<yandex><profiles><default/></profiles><quotas><default/></quotas><users><default>\n"
    "  "
    "<password></password><networks><ip>::/0</ip></networks><profile>default</"
    "profile><quota>default</quota>\n"
    "</default></users></yandex>\n";

static uint16_t free_port(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    uint16_t port = 0;
    if (bind(fd, (struct sockaddr *)&in, n) == 0 &&
        getsockname(fd, (struct sockaddr *)&in, &n) == 0)
        port = ntohs(in.sin_port);
    close(fd);
    return port;
}

static bool make_dir(struct server *s) {
    strcpy(s->dir, "/tmp/chn-test-XXXXXX");
    return mkdtemp(s->dir) != NULL;
}

static void remove_dir(const struct server *s) {
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", s->dir, (char *)NULL);
        _exit(1);
    }
    waitpid(pid, NULL, 0);
}

/* Reads one line within a minute. */
static bool read_line(int fd, char *line, size_t capacity) {
    size_t n = 0;
    for (struct pollfd p = {.fd = fd, .events = POLLIN};
         n + 1 < capacity && poll(&p, 1, 60000) > 0;) {
        if (read(fd, line + n, 1) != 1) break;
        if (line[n] == '\n') {
            line[n] = '\0';
            return true;
        }
        n++;
    }
    line[n] = '\0';
    return false;
}

static bool write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    if (f == NULL) return false;
    bool ok = fputs(text, f) >= 0;
    return fclose(f) == 0 && ok;
}

/* The engine merges what is in conf.d into its configuration: packets in chunks for whom wants
 * them. */
static bool allow_chunks(const struct server *s) {
    static const char text[] = "<clickhouse><proto_caps><send>chunked_optional</send>"
                               "<recv>chunked_optional</recv></proto_caps></clickhouse>\n";
    char path[128];
    snprintf(path, sizeof path, "%s/conf.d", s->dir);
    if (mkdir(path, 0755) != 0) return false;
    snprintf(path, sizeof path, "%s/conf.d/chunks.xml", s->dir);
    return write_text(path, text);
}

/* And what is in users.d into its users: here anybody may do anything. */
static bool allow_all(const struct server *s) {
    static const char text[] =
        "<clickhouse><users><default replace=\"replace\"><password></password>"
        "<networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>"
        "<access_management>1</access_management></default></users></clickhouse>\n";
    char path[128];
    snprintf(path, sizeof path, "%s/users.d", s->dir);
    if (mkdir(path, 0755) != 0) return false;
    snprintf(path, sizeof path, "%s/users.d/default.xml", s->dir);
    return write_text(path, text);
}

const char *server__start_embedded(struct server *s) {
    const char *launcher = getenv("SOUK_CLICKHOUSE");
    *s = (struct server){.embedded = true};
    if (launcher == NULL || access(launcher, X_OK) != 0)
        return "$SOUK_CLICKHOUSE names no launcher of the embedded server";
    int out[2];
    if (!make_dir(s) || !allow_chunks(s) || !allow_all(s) || pipe(out) != 0) return "no folder";
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execl(launcher, launcher, "--path", s->dir, "--tcp-port", "0", "--http-port", "0",
              (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    char line[256];
    unsigned port = 0, http_port = 0;
    bool ready = read_line(out[0], line, sizeof line) &&
                 sscanf(line, "ready tcp=127.0.0.1:%u http=127.0.0.1:%u", &port, &http_port) == 2;
    /* The read end stays open: the launcher says so again after a crash, and must not die of
     * SIGPIPE. */
    s->port = (uint16_t)port;
    s->http_port = (uint16_t)http_port;
    if (ready) return NULL;
    server__stop(s);
    return "the embedded server did not start (is libchdb.so installed?)";
}

static bool answers(uint16_t port) {
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool ok = connect(fd, (struct sockaddr *)&in, sizeof in) == 0;
    close(fd);
    return ok;
}

const char *server__start_old(struct server *s) { return server__start_old_secure(s, NULL); }

const char *server__start_old_secure(struct server *s, const char *cert_file) {
    *s = (struct server){0};
    if (access(old_server_path, X_OK) != 0) return "clickhouse-server is not installed";
    if (!make_dir(s)) return "no folder";
    s->port = free_port();
    s->http_port = free_port();
    char path[128], option[160], config[4096], secure[1024] = "";
    const char *d = s->dir;
    if (cert_file != NULL) {
        s->secure_port = free_port();
        snprintf(secure, sizeof secure, old_secure, (unsigned)s->secure_port, cert_file, cert_file);
    }
    snprintf(config, sizeof config, old_config, d, d, (unsigned)s->port, (unsigned)s->http_port, d,
             d, d, secure);
    snprintf(path, sizeof path, "%s/users.xml", d);
    bool written = write_text(path, old_users);
    snprintf(path, sizeof path, "%s/config.xml", d);
    written = written && write_text(path, config);
    snprintf(option, sizeof option, "--config-file=%s", path);
    if (!written) return "no folder";
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (freopen("/dev/null", "w", stderr) == NULL || chdir(s->dir) != 0) _exit(126);
        execl(old_server_path, old_server_path, option, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 600;
         i++) { /* It has no way to say that it is ready: ask ten times a second for a minute. */
        if (answers(s->port)) return NULL;
        if (waitpid(s->pid, NULL, WNOHANG) != 0) break;
        poll(NULL, 0, 100);
    }
    kill(s->pid, SIGKILL);
    server__stop(s);
    return "clickhouse-server did not start";
}

pid_t server__engine_pid(const struct server *s) {
    if (!s->embedded) return s->pid;
    char path[96], text[32] = {0};
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)s->pid, (int)s->pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    return n > 0 ? (pid_t)atoi(text) : 0;
}

/* Whether every thread is stopped: SIGSTOP reaches them one after the other. */
static bool is_stopped(pid_t pid) {
    char path[320], text[512];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    bool all = tasks != NULL;
    for (struct dirent *entry; all && (entry = readdir(tasks)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/stat", (int)pid, entry->d_name);
        FILE *f = fopen(path, "r");
        if (f == NULL) continue; /* It has ended. */
        size_t n = fread(text, 1, sizeof text - 1, f);
        fclose(f);
        text[n] = '\0';
        const char *after_name = strrchr(text, ')');
        all = after_name == NULL || after_name[2] == 'T';
    }
    if (tasks != NULL) closedir(tasks);
    return all;
}

void server__pause(const struct server *s, bool pause) {
    pid_t pid = server__engine_pid(s);
    kill(pid, pause ? SIGSTOP : SIGCONT);
    while (pause && !is_stopped(pid)) sched_yield();
}

void server__stop(struct server *s) {
    if (s->pid > 0) {
        kill(s->pid, s->embedded ? SIGTERM : SIGKILL); /* What the old one has is thrown away. */
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) continue;
    }
    s->pid = 0;
    if (s->dir[0] != '\0') remove_dir(s);
}
