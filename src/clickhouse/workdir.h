/** The folder of one embedded ClickHouse: its lock, its configuration, its log. */
#ifndef SOUK_CLICKHOUSE_WORKDIR_H
#define SOUK_CLICKHOUSE_WORKDIR_H

#include <limits.h>
#include <stddef.h>

/* The one user who can log in: rights on all databases but the engine's own, none on files, hosts,
 * users or the engine itself. */
#define WORKDIR_USER "souk"
enum { PASSWORD_MIN = 16, PASSWORD_MAX = 120 };

enum { LOG_BYTES_MAX = 16 << 20 }; /* clickhouse.log is turned into clickhouse.log.1 above this. */

struct workdir {
    char path[PATH_MAX];             /* Absolute. */
    char log_file[PATH_MAX];         /* <path>/clickhouse.log. */
    char password[PASSWORD_MAX + 1]; /* Of WORKDIR_USER, once the configuration is written. */
    int lock_fd; /* Holds the lock as long as it is open, here or in the engine. -1 when not locked.
                  */
    int log_fd;  /* -1 when not open. */
    size_t log_bytes;
};

/**
 * Makes the folder @path if it is not there, takes it, and all in it, from other users of the
 * machine, and locks it.
 * @error receives one line. @return 0, or the exit code to end with: 75 when another launcher has
 * it, else 1.
 */
int workdir__open(struct workdir *dir, const char *path, char error[static 512]);

/**
 * Reads the file password, or makes it with a random one; writes config.xml, users.xml and
 * client.xml, with which `clickhouse-client --config-file` logs in. @listen_host, @tcp_port,
 * @http_port (0 = no HTTP) as the engine shall have them.
 * @error receives one line. @return 0, or the exit code to end with.
 */
int workdir__write_config(struct workdir *dir, const char *listen_host, int tcp_port, int http_port,
                          char error[static 512]);

/** Appends to the log, turning it over when it is full. What cannot be written is lost: the engine
 * matters more. */
void workdir__log(struct workdir *dir, const char *text, size_t bytes);

/** Closes what is open; the lock goes when the engine has ended too. */
void workdir__close(struct workdir *dir);

#endif
