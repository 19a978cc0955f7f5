/*
 * What lies in the folder of an embedded ClickHouse. `db/` is the engine's own. The configuration
 * is made for a development machine: small caches and pools, since the defaults are sized for a
 * server with all memory to itself.
 */
#include "workdir.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Fills @to with <folder>/<name>. @return whether it fits. */
static int join(char to[static PATH_MAX], const char *folder, const char *name) {
    int n = snprintf(to, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX;
}

static int fail(char error[static 512], const char *what, const char *path) {
    snprintf(error, 512, "%s %.400s: %s", what, path, strerror(errno));
    return 1;
}

enum { OPEN_FOLDERS_MAX = 16 };

/* What the engine removes meanwhile is not there to be changed: errors do not matter. */
static int close_to_others(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)at;
    if (type != FTW_SL && (st->st_mode & 077) != 0) chmod(path, st->st_mode & 0700);
    return 0;
}

static int lock_folder(struct workdir *dir, char error[static 512]) {
    char lock_file[PATH_MAX];
    if (!join(lock_file, dir->path, "lock")) return 1;
    dir->lock_fd = open(lock_file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (dir->lock_fd < 0) {
        snprintf(error, 512, "open %.400s: %s", lock_file, strerror(errno));
        return 1;
    }
    char text[32] = {0};
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (pread(dir->lock_fd, text, sizeof text - 1, 0) <= 0) strcpy(text, "?");
        text[strcspn(text, "\n")] = '\0';
        snprintf(error, 512, "%.400s is in use by process %s", dir->path, text);
        return 75;
    }
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(dir->lock_fd, 0) != 0 || pwrite(dir->lock_fd, text, (size_t)n, 0) != n) {
        snprintf(error, 512, "write %.400s: %s", lock_file, strerror(errno));
        return 1;
    }
    return 0;
}

int workdir__open(struct workdir *dir, const char *path, char error[static 512]) {
    *dir = (struct workdir){.lock_fd = -1, .log_fd = -1};
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        snprintf(error, 512, "mkdir %.400s: %s", path, strerror(errno));
        return 1;
    }
    if (realpath(path, dir->path) == NULL) {
        snprintf(error, 512, "%.400s: %s", path, strerror(errno));
        return 1;
    }
    if (strpbrk(dir->path, "<>&\"'") != NULL || !join(dir->log_file, dir->path, "clickhouse.log")) {
        snprintf(error, 512, "%.400s: the name of the folder is too long, or has one of < > & \" '",
                 dir->path);
        return 1;
    }
    int code = lock_folder(dir, error);
    if (code != 0) return code;
    struct stat st;
    if (stat(dir->path, &st) != 0) return fail(error, "stat", dir->path);
    if ((st.st_mode & 077) == 0) return 0;
    /* An older version's. The folder last: as long as it is open, what is in it may be too. */
    nftw(dir->path, close_to_others, OPEN_FOLDERS_MAX, FTW_PHYS | FTW_DEPTH);
    if (chmod(dir->path, 0700) != 0) return fail(error, "chmod", dir->path);
    return 0;
}

static const char config_format[] =
    "<clickhouse>\n"
    "  <!-- Written by souk-clickhouse at each start: changes made here are lost. -->\n"
    "  <path>%s/db/</path>\n"
    "  <tmp_path>%s/db/tmp/</tmp_path>\n"
    "  <users_config>%s/users.xml</users_config>\n"
    "  <user_files_path>%s/db/user_files/</user_files_path>\n"
    "  <format_schema_path>%s/db/format_schemas/</format_schema_path>\n"
    "  <listen_host>%s</listen_host>\n"
    "  <tcp_port>%d</tcp_port>\n"
    "%s"
    /* As long as this is there, the engine adds no Access-Control-Allow-Origin to any answer,
       whatever a query sets add_http_cors_header to: and its own page, /play, sets it with each. */
    "  <http_options_response><header><name>Allow</name><value>GET, POST, OPTIONS</value></header>"
    "</http_options_response>\n"
    "  <mark_cache_size>67108864</mark_cache_size>\n"
    "  <uncompressed_cache_size>0</uncompressed_cache_size>\n"
    "  <index_mark_cache_size>16777216</index_mark_cache_size>\n"
    "  <mmap_cache_size>100</mmap_cache_size>\n"
    "  <query_cache><max_size_in_bytes>16777216</max_size_in_bytes></query_cache>\n"
    "  <compiled_expression_cache_size>16777216</compiled_expression_cache_size>\n"
    "  <max_concurrent_queries>200</max_concurrent_queries>\n"
    "  <background_pool_size>2</background_pool_size>\n"
    "  "
    "<background_merges_mutations_concurrency_ratio>2</"
    "background_merges_mutations_concurrency_ratio>\n"
    "  <background_move_pool_size>1</background_move_pool_size>\n"
    "  <background_fetches_pool_size>1</background_fetches_pool_size>\n"
    "  <background_common_pool_size>2</background_common_pool_size>\n"
    "  <background_schedule_pool_size>8</background_schedule_pool_size>\n"
    "  <background_buffer_flush_schedule_pool_size>1</background_buffer_flush_schedule_pool_size>\n"
    "  "
    "<background_message_broker_schedule_pool_size>1</"
    "background_message_broker_schedule_pool_size>\n"
    "  <background_distributed_schedule_pool_size>1</background_distributed_schedule_pool_size>\n"
    "  <tables_loader_foreground_pool_size>2</tables_loader_foreground_pool_size>\n"
    "  <tables_loader_background_pool_size>2</tables_loader_background_pool_size>\n"
    "  <asynchronous_metrics_update_period_s>30</asynchronous_metrics_update_period_s>\n"
    "  <merge_tree>\n"
    /* A small part is mostly files of 4 KiB: fewer of them. */
    "    <write_marks_for_substreams_in_compact_parts>0</"
    "write_marks_for_substreams_in_compact_parts>\n"
    "    <packed_skip_index_max_bytes>1048576</packed_skip_index_max_bytes>\n"
    /* With two merging threads the default of 8 free slots would keep big merges from ever
       starting. */
    "    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1"
    "</number_of_free_entries_in_pool_to_lower_max_size_of_merge>\n"
    "    "
    "<number_of_free_entries_in_pool_to_execute_mutation>1</"
    "number_of_free_entries_in_pool_to_execute_mutation>\n"
    "    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1"
    "</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>\n"
    "  </merge_tree>\n"
    "</clickhouse>\n";

/*
 * `default` is whom the engine itself runs as, without a password: it must stay able to say SYSTEM
 * START LISTEN, and views that older versions made act in its name. Its one session is the engine's
 * own, there before anything listens, so nobody else ever gets in.
 */
static const char users_format[] =
    "<clickhouse>\n"
    "  <!-- Written by souk-clickhouse at each start: changes made here are lost. -->\n"
    "  <profiles>\n"
    "    <default></default>\n"
    "    <starter><max_sessions_for_user>1</max_sessions_for_user></starter>\n"
    "  </profiles>\n"
    "  <users>\n"
    "    <default>\n"
    "      <no_password></no_password>\n"
    "      <networks><ip>127.0.0.1</ip></networks>\n"
    "      <profile>starter</profile>\n"
    "      <quota>default</quota>\n"
    "      <grants>\n"
    "        <query>GRANT SYSTEM LISTEN, SELECT, INSERT ON *.*</query>\n"
    "      </grants>\n"
    "    </default>\n"
    "    <" WORKDIR_USER ">\n"
    "      <password>%s</password>\n"
    "      <networks><ip>::/0</ip></networks>\n"
    "      <profile>default</profile>\n"
    "      <quota>default</quota>\n"
    "      <grants>\n"
    "        <query>GRANT SHOW, SELECT, INSERT, ALTER TABLE, ALTER VIEW, CREATE DATABASE, CREATE "
    "TABLE, CREATE VIEW, CREATE TEMPORARY TABLE, DROP DATABASE, DROP TABLE, DROP VIEW, TRUNCATE, "
    "OPTIMIZE, KILL QUERY ON *.*</query>\n"
    "        <query>REVOKE INSERT, ALTER TABLE, ALTER VIEW, CREATE DATABASE, CREATE TABLE, CREATE "
    "VIEW, "
    "DROP DATABASE, DROP TABLE, DROP VIEW, TRUNCATE, OPTIMIZE ON system.*</query>\n"
    "%s"
    "      </grants>\n"
    "    </" WORKDIR_USER ">\n"
    "  </users>\n"
    "  <quotas><default></default></quotas>\n"
    "</clickhouse>\n";

/* Engines of tables that keep what they are given in the folder. */
static const char *const table_engines[] = {
    "MergeTree",
    "ReplacingMergeTree",
    "SummingMergeTree",
    "AggregatingMergeTree",
    "CollapsingMergeTree",
    "VersionedCollapsingMergeTree",
    "Memory",
    "Null",
};

static const char client_format[] = "<config>\n"
                                    "  <!-- For clickhouse-client: its option config-file. -->\n"
                                    "  <host>%s</host>\n"
                                    "  <port>%d</port>\n"
                                    "  <user>" WORKDIR_USER "</user>\n"
                                    "  <password>%s</password>\n"
                                    "</config>\n";

/* Replaces a file whole and for good, so that nobody ever reads half of one. */
static int replace_file(const struct workdir *dir, const char *name, const char *text,
                        char error[static 512]) {
    char path[PATH_MAX], temporary[PATH_MAX];
    errno = ENAMETOOLONG;
    if (!join(path, dir->path, name) || !join(temporary, dir->path, "config.new"))
        return fail(error, "write", dir->path);
    unlink(temporary); /* It may be an older version's, readable for all. */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t bytes = strlen(text);
    if (fd < 0) return fail(error, "open", temporary);
    bool written = write(fd, text, bytes) == (ssize_t)bytes && fsync(fd) == 0;
    if (close(fd) != 0 || !written || rename(temporary, path) != 0)
        return fail(error, "write", path);
    return 0;
}

/* What XML, a query string and a shell take as it is. */
static bool is_plain_password(const char *text) {
    size_t n = strlen(text);
    if (n < PASSWORD_MIN || n > PASSWORD_MAX) return false;
    for (; *text != '\0'; text++)
        if (!isalnum((unsigned char)*text) && *text != '-' && *text != '_') return false;
    return true;
}

static int make_password(struct workdir *dir, char error[static 512]) {
    unsigned char random[24];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return fail(error, "no random bytes for", "the password");
    char text[2 * sizeof random + 2];
    for (size_t i = 0; i < sizeof random; i++) snprintf(text + 2 * i, 3, "%02x", random[i]);
    memcpy(dir->password, text, 2 * sizeof random + 1);
    strcpy(text + 2 * sizeof random, "\n");
    return replace_file(dir, "password", text, error);
}

static int read_password(struct workdir *dir, char error[static 512]) {
    char path[PATH_MAX];
    if (!join(path, dir->path, "password")) return 1; /* Shorter names have been joined. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) return make_password(dir, error);
    if (fd < 0) return fail(error, "open", path);
    char text[PASSWORD_MAX + 8];
    ssize_t n = read(fd, text, sizeof text - 1);
    fchmod(fd, 0600);
    close(fd);
    if (n < 0) return fail(error, "read", path);
    text[n] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (!is_plain_password(text)) {
        snprintf(error, 512,
                 "%.300s: expected %d to %d letters, digits, - and _ on its first line; remove it "
                 "for a new one",
                 path, PASSWORD_MIN, PASSWORD_MAX);
        return 1;
    }
    memcpy(dir->password, text, strlen(text) + 1);
    return 0;
}

/* printf into a file of the folder. */
__attribute__((format(printf, 4, 5))) static int write_file(const struct workdir *dir,
                                                            const char *name,
                                                            char error[static 512],
                                                            const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int n = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (n < 0) return fail(error, "write", name);
    int code = replace_file(dir, name, text, error);
    free(text);
    return code;
}

int workdir__write_config(struct workdir *dir, const char *listen_host, int tcp_port, int http_port,
                          char error[static 512]) {
    char http_line[64] = "", engines[1024] = "", db[PATH_MAX];
    if (http_port != 0)
        snprintf(http_line, sizeof http_line, "  <http_port>%d</http_port>\n", http_port);
    size_t used = 0;
    for (size_t i = 0; i < sizeof table_engines / sizeof table_engines[0]; i++)
        used +=
            (size_t)snprintf(engines + used, sizeof engines - used,
                             "        <query>GRANT TABLE ENGINE ON %s</query>\n", table_engines[i]);
    if (join(db, dir->path, "db") && mkdir(db, 0700) != 0 && errno != EEXIST)
        return fail(error, "mkdir", db); /* The engine is confined to it, so it must be there. */
    int code = read_password(dir, error);
    if (code == 0)
        code = write_file(dir, "config.xml", error, config_format, dir->path, dir->path, dir->path,
                          dir->path, dir->path, listen_host, tcp_port, http_line);
    if (code == 0) code = write_file(dir, "users.xml", error, users_format, dir->password, engines);
    if (code == 0)
        code = write_file(dir, "client.xml", error, client_format, listen_host, tcp_port,
                          dir->password);
    return code;
}

static void turn_log_over(struct workdir *dir) {
    char old[PATH_MAX];
    if (join(old, dir->path, "clickhouse.log.1")) rename(dir->log_file, old);
}

static void open_log(struct workdir *dir) {
    struct stat st;
    if (stat(dir->log_file, &st) == 0 && st.st_size > LOG_BYTES_MAX) turn_log_over(dir);
    dir->log_fd = open(dir->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dir->log_bytes = dir->log_fd >= 0 && fstat(dir->log_fd, &st) == 0 ? (size_t)st.st_size : 0;
}

void workdir__log(struct workdir *dir, const char *text, size_t bytes) {
    if (dir->log_fd >= 0 && dir->log_bytes > LOG_BYTES_MAX) {
        close(dir->log_fd);
        dir->log_fd = -1;
    }
    if (dir->log_fd < 0) open_log(dir);
    if (dir->log_fd < 0) return;
    ssize_t n = write(dir->log_fd, text, bytes);
    if (n > 0) dir->log_bytes += (size_t)n;
}

void workdir__close(struct workdir *dir) {
    if (dir->log_fd >= 0) close(dir->log_fd);
    if (dir->lock_fd >= 0) close(dir->lock_fd);
    dir->log_fd = dir->lock_fd = -1;
}
