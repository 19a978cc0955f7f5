#include "login_file.h"
#include "souk/core/buf.h"
#include "souk/core/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

#define NAME "login.json"
#define NEXT_NAME "login.json.next"
#define VERSION 1
#define FILE_MAX ((size_t)32 << 10)

static int fail(struct err *e, const char *what, const char *dir) {
    return err__setf(e, ERR_IO, "%s %s/" NAME ": %s", what, dir, file__strerror(errno));
}

/* @return a descriptor of the folder, locked when @lock; -1. */
static int open_dir(const char *dir, bool lock) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd >= 0 && lock && flock(fd, LOCK_EX) != 0) {
        if (errno == EINTR) continue;
        close(fd);
        return -1;
    }
    return fd;
}

static bool take_text(yyjson_val *root, const char *key, char *out, size_t size) {
    yyjson_val *v = yyjson_obj_get(root, key);
    size_t n = yyjson_get_len(v);
    if (!yyjson_is_str(v) || n >= size || strlen(yyjson_get_str(v)) != n) return false;
    memcpy(out, yyjson_get_str(v), n + 1);
    return true;
}

static bool take_time(yyjson_val *root, const char *key, int64_t *out) {
    *out = yyjson_get_sint(yyjson_obj_get(root, key));
    return yyjson_is_int(yyjson_obj_get(root, key)) && *out >= 0;
}

static bool parse(const char *text, size_t n, struct login_file *out) {
    yyjson_doc *doc = yyjson_read(text, n, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool good = yyjson_get_int(yyjson_obj_get(root, "version")) == VERSION &&
                take_text(root, "id", out->id, sizeof out->id) && strlen(out->id) == 16 &&
                take_text(root, "client_id", out->client_id, sizeof out->client_id) &&
                take_text(root, "username", out->username, sizeof out->username) &&
                take_text(root, "scope", out->scope, sizeof out->scope) &&
                take_text(root, "refresh_token", out->refresh, sizeof out->refresh) &&
                out->refresh[0] != '\0' && take_time(root, "logged_in_s", &out->logged_in_s) &&
                take_time(root, "renewed_s", &out->renewed_s) &&
                take_time(root, "access_until_s", &out->access_until_s);
    yyjson_doc_free(doc);
    return good;
}

/* @for_all: also one that others may read. */
static int read_at(int dir_fd, const char *dir, bool for_all, struct login_file *out,
                   struct err *e) {
    char text[FILE_MAX];
    struct stat st;
    size_t n = 0;
    *out = (struct login_file){.logged_in_s = 0};
    int fd = file__open(dir_fd, NAME, O_RDONLY | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return err__setf(e, ERR_NOT_FOUND, "nobody is logged in: souk login account");
    if (fd < 0) return fail(e, "cannot open", dir);
    int code = fstat(fd, &st) != 0 ? fail(e, "cannot look at", dir) : 0;
    if (code == 0 && !for_all && (st.st_mode & 077) != 0)
        code = err__setf(e, ERR_REFUSED,
                         "%s/" NAME " can be read by others: chmod 600 it, or log in again", dir);
    for (ssize_t got = 1; code == 0 && got != 0 && n < sizeof text;) {
        got = read(fd, text + n, sizeof text - n);
        if (got > 0) n += (size_t)got;
        else if (got < 0 && errno != EINTR) code = fail(e, "cannot read", dir);
    }
    close(fd);
    if (code == 0 && (n == sizeof text || !parse(text, n, out)))
        code = err__setf(e, ERR_CORRUPT, "%s/" NAME " is no login; log in again", dir);
    explicit_bzero(text, sizeof text);
    if (code != 0) *out = (struct login_file){.logged_in_s = 0};
    return code;
}

int login_file__read(const char *state_dir, struct login_file *out, struct err *e) {
    *out = (struct login_file){.logged_in_s = 0};
    int dir_fd = open_dir(state_dir, false);
    if (dir_fd < 0 && errno == ENOENT)
        return err__setf(e, ERR_NOT_FOUND, "nobody is logged in: souk login account");
    if (dir_fd < 0) return fail(e, "cannot open", state_dir);
    int code = read_at(dir_fd, state_dir, false, out, e);
    close(dir_fd);
    return code;
}

static void put(struct buf *b, const char *key, const char *text) {
    buf__printf(b, "\"%s\":", key);
    buf__json_string(b, slice__str(text));
    buf__append_str(b, ",\n");
}

static void print(const struct login_file *f, struct buf *b) {
    buf__printf(b, "{\"version\":%d,\n", VERSION);
    put(b, "id", f->id);
    put(b, "client_id", f->client_id);
    put(b, "username", f->username);
    put(b, "scope", f->scope);
    put(b, "refresh_token", f->refresh);
    buf__printf(b, "\"logged_in_s\":%lld,\n\"renewed_s\":%lld,\n\"access_until_s\":%lld}\n",
                (long long)f->logged_in_s, (long long)f->renewed_s, (long long)f->access_until_s);
}

static bool write_all(int fd, const char *at, size_t n) {
    while (n > 0) {
        ssize_t put = write(fd, at, n);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        at += put;
        n -= (size_t)put;
    }
    return true;
}

/* Beside, synced, then in its place: whenever the power fails, one of the two is there whole. */
static int replace(int dir_fd, const char *dir, const struct buf *text, struct err *e) {
    if (unlinkat(dir_fd, NEXT_NAME, 0) != 0 && errno != ENOENT)
        return fail(e, "cannot make way for the next", dir);
    int fd = openat(dir_fd, NEXT_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return fail(e, "cannot make the next", dir);
    bool good = fchmod(fd, 0600) == 0 && write_all(fd, text->base, text->len) && fsync(fd) == 0;
    int why = good ? 0 : errno; /* Of what failed first, and of nothing that went well. */
    good = close(fd) == 0 && good;
    good = good && renameat(dir_fd, NEXT_NAME, dir_fd, NAME) == 0 && fsync(dir_fd) == 0;
    if (good) return 0;
    if (why == 0) why = errno;
    unlinkat(dir_fd, NEXT_NAME, 0);
    errno = why;
    return fail(e, "cannot write", dir);
}

int login_file__write(const char *state_dir, const struct login_file *in, const char *instead_of,
                      struct err *e) {
    struct login_file now;
    struct err ignored = {0};
    int code = 0, dir_fd = open_dir(state_dir, true);
    if (dir_fd < 0) return fail(e, "cannot lock the folder of", state_dir);
    if (instead_of != NULL) {
        code = read_at(dir_fd, state_dir, false, &now, &ignored);
        bool other = code == ERR_NOT_FOUND || (code == 0 && strcmp(now.id, instead_of) != 0);
        explicit_bzero(&now, sizeof now);
        /* A file that cannot be read is no other login: what is newer takes its place. */
        code = other ? err__setf(e, ERR_REFUSED, "%s/" NAME " is of another login", state_dir) : 0;
    }
    struct buf text = buf__init(FILE_MAX - 1);
    errno = 0;
    print(in, &text);
    if (code == 0 && text.failed) code = err__setf(e, ERR_IO, "the login is too long to be kept");
    if (code == 0) code = replace(dir_fd, state_dir, &text, e);
    if (text.base != NULL) explicit_bzero(text.base, text.len);
    buf__fini(&text);
    close(dir_fd);
    return code;
}

int login_file__remove(const char *state_dir, struct login_file *was, struct err *e) {
    *was = (struct login_file){.logged_in_s = 0};
    int dir_fd = open_dir(state_dir, true);
    if (dir_fd < 0 && errno == ENOENT) return err__setf(e, ERR_NOT_FOUND, "nobody is logged in");
    if (dir_fd < 0) return fail(e, "cannot lock the folder of", state_dir);
    int code = read_at(dir_fd, state_dir, true, was, e);
    if (code != 0 && code != ERR_NOT_FOUND) code = e->code = ERR_CORRUPT;
    unlinkat(dir_fd, NEXT_NAME, 0);
    if (unlinkat(dir_fd, NAME, 0) != 0 && errno != ENOENT)
        code = fail(e, "cannot remove", state_dir);
    else if (fsync(dir_fd) != 0) code = fail(e, "cannot sync the folder of", state_dir);
    close(dir_fd);
    if (code != 0) explicit_bzero(was, sizeof *was);
    return code;
}

void login_file__take(struct login_file *f, const struct oauth_login *answer, int64_t now_s) {
    if (answer->refresh[0] != '\0') snprintf(f->refresh, sizeof f->refresh, "%s", answer->refresh);
    if (answer->username[0] != '\0')
        snprintf(f->username, sizeof f->username, "%s", answer->username);
    if (answer->scope[0] != '\0') snprintf(f->scope, sizeof f->scope, "%s", answer->scope);
    f->renewed_s = now_s;
    f->access_until_s = answer->life_s > 0 ? now_s + answer->life_s : 0;
}
