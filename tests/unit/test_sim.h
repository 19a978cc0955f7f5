/* What the tests of the simulator share: a simulator without sockets, a clock set by hand, requests
 * written as text. */
#ifndef TEST_SIM_H
#define TEST_SIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

#define TEST_AGENT "User-Agent: OAuth souk/1.0 (contact: test@example.org)\r\n"

/** A simulator and the folder that it may use. */
struct fixture {
    struct options options;
    struct sim *sim;
    struct reply reply;
    char dir[64];
};

static inline void fixture__open(struct fixture *f) {
    struct sim_clock at = {.mono_ns = 0, .wall_ns = INT64_C(1790000000) * SIM_NS_PER_S};
    struct sim_err err = {""};
    f->sim = calloc(1, sizeof *f->sim);
    if (sim__init(f->sim, &f->options, at, &err) != 0) fail_msg("%s", err.msg);
}

/** Set the options that @words gives, after "souk-sim --port 0". */
static inline void fixture__init(struct fixture *f, int n_words, char **words) {
    char *argv[32] = {"souk-sim", "--port", "0"};
    struct sim_err err = {""};
    memset(f, 0, sizeof *f);
    for (int i = 0; i < n_words; i++) argv[3 + i] = words[i];
    if (options__parse(&f->options, 3 + n_words, argv, &err) != 0) fail_msg("%s", err.msg);
    strcpy(f->dir, "/tmp/test-sim-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
}

static inline void fixture__close(struct fixture *f) {
    reply__fini(&f->reply);
    if (f->sim != NULL) sim__fini(f->sim);
    free(f->sim);
    f->sim = NULL;
}

static inline void fixture__fini(struct fixture *f) {
    DIR *d = opendir(f->dir);
    fixture__close(f);
    for (struct dirent *one; d != NULL && (one = readdir(d)) != NULL;) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", f->dir, one->d_name);
        if (one->d_name[0] != '.') unlink(path);
    }
    if (d != NULL) closedir(d);
    rmdir(f->dir);
}

/** Send a request and tell the ledger that the answer went out @whole. */
static inline const struct reply *fixture__send(struct fixture *f, const char *method,
                                                const char *target, const char *headers,
                                                const char *body, bool whole) {
    static char text[8192];
    static struct http_request q;
    int n = snprintf(text, sizeof text,
                     "%s %s HTTP/1.1\r\nHost: 127.0.0.1:8787\r\n%sContent-Length: %zu\r\n\r\n%s",
                     method, target, headers, strlen(body), body);
    reply__fini(&f->reply);
    assert_int_equal(http__parse(text, (size_t)n, &q), n);
    sim__handle(f->sim, &q, &f->reply);
    if (f->reply.done != NULL)
        f->reply.done(NULL, f->reply.token, whole && !f->reply.cut && !f->reply.stall);
    f->reply.done = NULL;
    return &f->reply;
}

static inline const struct reply *fixture__get(struct fixture *f, const char *target) {
    return fixture__send(f, "GET", target, TEST_AGENT, "", true);
}

static inline const struct reply *fixture__page(struct fixture *f, const char *cursor) {
    char target[200];
    snprintf(target, sizeof target, "/public-stash-tabs?id=%.*s", CURSOR_MAX, cursor);
    return fixture__get(f, target);
}

static inline void fixture__fault(struct fixture *f, const char *json) {
    const struct reply *r = fixture__send(f, "POST", "/_sim/fault", "", json, true);
    if (r->status != 200) fail_msg("%s", r->body->data);
}

static inline bool has_header(const struct reply *r, const char *line) {
    return r->headers.at != NULL && strstr(r->headers.at, line) != NULL;
}

/** Copy the next_change_id of a page. */
static inline void next_cursor(const struct reply *r, char out[CURSOR_MAX]) {
    assert_int_equal(sscanf(r->body->data, "{\"next_change_id\":\"%63[0-9-]\"", out), 1);
}

/** Read a file of the fixture's folder whole. The caller frees. */
static inline char *read_text(const struct fixture *f, const char *name) {
    char path[200], *text;
    long n;
    FILE *file;
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    n = ftell(file);
    rewind(file);
    text = calloc(1, (size_t)n + 1);
    assert_int_equal(fread(text, 1, (size_t)n, file), n);
    fclose(file);
    return text;
}

static inline size_t count_of(const char *text, const char *what) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at += strlen(what)) n++;
    return n;
}

#endif
