/* See limit_table.h. */
#include "limit_table.h"
#include "../throttle/throttle.h"
#include "ask.h"
#include "souk/core/clock.h"
#include "souk/governor.h"
#include "souk/spool_scan.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLICIES_MAX 1024

static int by_name(const void *a, const void *b) {
    return strcmp(answer_text(*(yyjson_val *const *)a, "policy"),
                  answer_text(*(yyjson_val *const *)b, "policy"));
}

/* Names come from outside: what would end a cell is not printed. */
static void print_cell(const char *text) {
    for (; *text != '\0'; text++) putchar(*text == '|' || *text == '`' ? '?' : *text);
}

static void print_period(double s) {
    if (s >= 3600 && (int64_t)s % 3600 == 0) printf("%.0f h", s / 3600);
    else if (s >= 60 && (int64_t)s % 60 == 0) printf("%.0f min", s / 60);
    else printf("%.0f s", s);
}

static void print_rule(yyjson_val *policy, const char *rule) {
    yyjson_val *w;
    size_t i, max;
    bool any = false;
    char iso[40] = "";
    yyjson_arr_foreach(yyjson_obj_get(policy, "windows"), i, max, w) {
        if (strcmp(answer_text(w, "rule"), rule) != 0) continue;
        printf("%s%.0f in ", any ? ", " : "", answer_num(w, "limit"));
        print_period(answer_num(w, "period_s"));
        printf(" (else ");
        print_period(answer_num(w, "restriction_s"));
        printf(" closed)");
        any = true;
    }
    int64_t learned_ms = (int64_t)answer_num(policy, "learned_ms");
    if (learned_ms > 0) clock__iso(learned_ms * NS_PER_MS, iso, sizeof iso);
    printf(" | %.10s |\n", learned_ms > 0 ? iso : "earlier");
}

static void print_policy(yyjson_val *policy) {
    yyjson_val *windows = yyjson_obj_get(policy, "windows"), *w;
    size_t i, max;
    const char *before = "";
    yyjson_arr_foreach(windows, i, max, w) {
        const char *rule = answer_text(w, "rule");
        if (strcmp(rule, before) == 0) continue; /* The windows of a rule stand together. */
        before = rule;
        printf("| `");
        print_cell(answer_text(policy, "policy"));
        printf("` | ");
        print_cell(rule);
        printf(" | ");
        print_rule(policy, rule);
    }
}

void limit_table__print(yyjson_val *policies) {
    yyjson_val *sorted[POLICIES_MAX], *p;
    size_t n = 0, i, max;
    yyjson_arr_foreach(policies, i, max, p) if (n < POLICIES_MAX) sorted[n++] = p;
    qsort(sorted, n, sizeof *sorted, by_name);
    printf("| policy | rule | windows | learned |\n|---|---|---|---|\n");
    for (i = 0; i < n; i++) print_policy(sorted[i]);
}

/* The last one that there is; damage on the way is passed, as souk itself does. */
static int find_limits(struct spool_scan *scan, struct buf *out, struct err *e) {
    struct spool_record r;
    int rc;
    while ((rc = spool_scan__next(scan, &r, e)) != 0) {
        if (rc == ERR_CORRUPT) continue;
        if (rc < 0) return rc;
        if (r.type != SPOOL_LIMITS) continue;
        buf__clear(out);
        buf__append_slice(out, r.payload);
    }
    return out->len > 0 ? 0 : err__setf(e, ERR_NOT_FOUND, "the log holds no limits yet");
}

static int put_saved(const struct buf *saved, struct buf *out, struct err *e) {
    struct clock clock;
    struct governor *g = NULL;
    uv_loop_t loop;
    clock__read(&clock);
    int rc = uv_loop_init(&loop);
    if (rc != 0) return err__setf(e, rc, "limits: %s", err__text(rc));
    struct governor_options options = {.boot_id = clock__boot_id()};
    rc = governor__open(&g, &loop, &clock, NULL, &options, e);
    if (rc == 0) rc = governor__restore(g, buf__slice(saved), e);
    if (rc == 0) throttle__put_policies(g, out);
    if (g != NULL) governor__close(g, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return rc;
}

int limit_table__read(const char *dir, struct buf *out, struct err *e) {
    struct spool_scan *scan = NULL;
    struct buf saved = buf__init(SPOOL_RECORD_MAX);
    int rc = spool_scan__open(&scan, dir, e);
    if (rc != 0) return rc;
    rc = find_limits(scan, &saved, e);
    if (rc == 0) rc = put_saved(&saved, out, e);
    spool_scan__close(scan);
    buf__fini(&saved);
    return rc;
}
