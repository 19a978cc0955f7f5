/*
 * What lies in the folder of an embedded ClickHouse. `db/` is the engine's own. The configuration
 * is made for a development machine: small caches and pools, since the defaults are sized for a
 * server with all memory to itself.
 */
#include "workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Fills @to with <folder>/<name>. @return whether it fits. */
static int join(char to[static PATH_MAX], const char *folder, const char *name) {
    int n = snprintf(to, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX;
}

static int lock_folder(struct workdir *dir, char error[static 512]) {
    char lock_file[PATH_MAX];
    if (!join(lock_file, dir->path, "lock")) return 1;
    dir->lock_fd = open(lock_file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
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
    if (mkdir(path, 0755) != 0 && errno != EEXIST) {
        snprintf(error, 512, "mkdir %.400s: %s", path, strerror(errno));
        return 1;
    }
    if (realpath(path, dir->path) == NULL) {
        snprintf(error, 512, "%.400s: %s", path, strerror(errno));
        return 1;
    }
    if (strpbrk(dir->path, "<>&\"'") != NULL || !join(dir->config_file, dir->path, "config.xml") ||
        !join(dir->log_file, dir->path, "clickhouse.log")) {
        snprintf(error, 512, "%.400s: the name of the folder is too long, or has one of < > & \" '",
                 dir->path);
        return 1;
    }
    return lock_folder(dir, error);
}

static const char config_format[] =
    "<clickhouse>\n"
    "  <!-- Written by souk-clickhouse at each start: changes made here are lost. -->\n"
    "  <path>%s/db/</path>\n"
    "  <tmp_path>%s/db/tmp/</tmp_path>\n"
    "  <users_config>%s/users.xml</users_config>\n"
    "  <listen_host>%s</listen_host>\n"
    "  <tcp_port>%d</tcp_port>\n"
    "%s"
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

static const char users_text[] = "<clickhouse>\n"
                                 "  <!-- Written by souk-clickhouse at each start. No password: "
                                 "the engine listens on loopback only. -->\n"
                                 "  <profiles><default></default></profiles>\n"
                                 "  <users>\n"
                                 "    <default>\n"
                                 "      <password></password>\n"
                                 "      <networks><ip>::/0</ip></networks>\n"
                                 "      <profile>default</profile>\n"
                                 "      <quota>default</quota>\n"
                                 "      <access_management>1</access_management>\n"
                                 "    </default>\n"
                                 "  </users>\n"
                                 "  <quotas><default></default></quotas>\n"
                                 "</clickhouse>\n";

/* Replaces a file whole, so that an engine that starts meanwhile never reads half of one. */
static int replace_file(const char *folder, const char *name, const char *text, size_t bytes) {
    char path[PATH_MAX], temporary[PATH_MAX];
    if (!join(path, folder, name) || !join(temporary, folder, "config.new")) return -ENAMETOOLONG;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return -errno;
    int code = write(fd, text, bytes) == (ssize_t)bytes ? 0 : -EIO;
    if (close(fd) != 0 && code == 0) code = -errno;
    if (code == 0 && rename(temporary, path) != 0) code = -errno;
    return code;
}

int workdir__write_config(struct workdir *dir, const char *listen_host, int tcp_port,
                          int http_port) {
    char http_line[64] = "";
    if (http_port != 0)
        snprintf(http_line, sizeof http_line, "  <http_port>%d</http_port>\n", http_port);
    size_t capacity = sizeof config_format + 3 * PATH_MAX + 512;
    char *text = malloc(capacity);
    if (text == NULL) return -ENOMEM;
    int n = snprintf(text, capacity, config_format, dir->path, dir->path, dir->path, listen_host,
                     tcp_port, http_line);
    int code = n > 0 && (size_t)n < capacity ? 0 : -ENAMETOOLONG;
    if (code == 0) code = replace_file(dir->path, "config.xml", text, (size_t)n);
    if (code == 0) code = replace_file(dir->path, "users.xml", users_text, sizeof users_text - 1);
    free(text);
    return code;
}

static void turn_log_over(struct workdir *dir) {
    char old[PATH_MAX];
    if (join(old, dir->path, "clickhouse.log.1")) rename(dir->log_file, old);
}

static void open_log(struct workdir *dir) {
    struct stat st;
    if (stat(dir->log_file, &st) == 0 && st.st_size > LOG_BYTES_MAX) turn_log_over(dir);
    dir->log_fd = open(dir->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
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
