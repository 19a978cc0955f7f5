/* souk wal: looks into the log on disk, beside a running souk or without one, and mends it. */
#include "souk/core/err.h"
#include "souk/core/log.h"
#include "souk/journal.h"
#include "souk/spool_scan.h"
#include "verbs.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BODY_MAX ((size_t)64 << 20) /* Of one page that is printed. */
#define DIR_SIZE 4096
#define N_TYPES (SPOOL_OPS + 1)

const char verb_wal_help[] =
    "stat|dump|verify|repair [OPTIONS]\n\n"
    "Looks into the log on disk (the spool), where every page, batch, acknowledgement and alert is "
    "kept.\n"
    "stat, dump and verify only read: they take no lock and work beside a running souk.\n\n"
    "  stat    segments, bytes, records by type, what is acknowledged and what waits\n"
    "  dump    one line a record: position, type, source, time (UTC), bytes\n"
    "  verify  checks the checksum of every record and names each damaged range; exit code 1 when\n"
    "          there is any. An unfinished write at the very end is no damage: it is named and "
    "cut\n"
    "          off at the next start\n"
    "  repair  does now what the next start of souk would do: copies damaged ranges to bad/, then\n"
    "          makes the log readable from end to end. Needs --yes; refuses while souk runs. What\n"
    "          lies below the low-water mark is acknowledged and stays as it is\n\n"
    "Options:\n"
    "  --dir PATH   the spool's folder [state_dir of the configuration, then /spool]\n"
    "  --from LSN   dump: start at this position     --to LSN   stop before this one\n"
    "  --type TYPE  dump: only page, frames, seal, ack, quarantine, alert, command, limits,\n"
    "               checkpoint, stop, request, config, range or ops\n"
    "  --limit N    dump: at most N records\n"
    "  --payload    dump: also what each record holds; bodies of pages are decompressed, what is\n"
    "               not text is printed as hex\n"
    "  --yes        repair: change files\n"
    "  --json       one object (stat, verify, repair) or one object a line (dump); fields are "
    "only\n"
    "               ever added\n\n"
    "Exit codes: 0 all is well; 1 damage was found; 2 usage, and repair without --yes; 73 no such\n"
    "folder, or no log in it; 74 the disk does not answer; 75 held by a running souk; 78\n"
    "configuration.\n";

static const char *const type_names[N_TYPES] = {
    [SPOOL_PAGE] = "page",
    [SPOOL_FRAMES] = "frames",
    [SPOOL_SEAL] = "seal",
    [SPOOL_ACK] = "ack",
    [SPOOL_QUARANTINE] = "quarantine",
    [SPOOL_ALERT] = "alert",
    [SPOOL_COMMAND] = "command",
    [SPOOL_LIMITS] = "limits",
    [SPOOL_CHECKPOINT] = "checkpoint",
    [SPOOL_STOP] = "stop",
    [SPOOL_REQUEST] = "request",
    [SPOOL_CONFIG] = "config",
    [SPOOL_RANGE] = "range",
    [SPOOL_OPS] = "ops",
};

struct wal {
    bool json, payload, yes;
    char dir[DIR_SIZE];
    uint64_t from, to, limit;
    unsigned type; /* 0: all. */
    struct spool_scan *scan;
    struct spool_scan_info info;
};

static const char *type_name(unsigned type) {
    return type < N_TYPES && type_names[type] != NULL ? type_names[type] : "unknown";
}

static int refuse(const struct err *e) {
    fprintf(stderr, "souk: %s\n", e->msg);
    return e->code == ERR_NOT_FOUND ? EXIT_CANT_CREATE : exit_code_of(e->code);
}

static void format_time(int64_t wall_ns, char out[40]) {
    time_t s = (time_t)(wall_ns / NS_PER_S);
    struct tm tm;
    size_t n = gmtime_r(&s, &tm) == NULL ? 0 : strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%03dZ", (int)(wall_ns % NS_PER_S / NS_PER_MS));
}

/* Records, bytes and damage of a whole log. */
struct census {
    uint64_t n_records[N_TYPES], bytes[N_TYPES]; /* 0 is for unknown types. */
    uint64_t n_total, n_damaged, damaged_bytes, n_missing;
    int64_t first_wall_ns, last_wall_ns, oldest_unacked_wall_ns;
};

static void count_record(struct census *c, const struct spool_record *r, uint64_t low_water_lsn) {
    unsigned type = r->type < N_TYPES && type_names[r->type] != NULL ? r->type : 0;
    c->n_total++;
    c->n_records[type]++;
    c->bytes[type] += r->payload.len;
    if (c->first_wall_ns == 0) c->first_wall_ns = r->wall_ns;
    c->last_wall_ns = r->wall_ns;
    bool data =
        type == SPOOL_PAGE || type == SPOOL_FRAMES || type == SPOOL_REQUEST || type == SPOOL_OPS;
    if (data && r->lsn >= low_water_lsn && c->oldest_unacked_wall_ns == 0)
        c->oldest_unacked_wall_ns = r->wall_ns;
}

static void count_damage(struct census *c, const struct wal *w, struct buf *list, bool quiet) {
    struct spool_scan_damage d;
    spool_scan__damage(w->scan, &d);
    c->n_damaged++;
    c->n_missing += d.to == 0;
    c->damaged_bytes += d.to - d.from;
    if (w->json)
        buf__printf(list, "%s{\"segment\":%" PRIu64 ",\"from\":%" PRIu64 ",\"to\":%" PRIu64 "}",
                    c->n_damaged > 1 ? "," : "", d.segment, d.from, d.to);
    else if (quiet) return;
    else if (d.to == 0) printf("segment %016" PRIu64 " is gone\n", d.segment);
    else
        printf("segment %016" PRIu64 " is damaged from byte %" PRIu64 " to %" PRIu64 " (%" PRIu64
               " bytes)\n",
               d.segment, d.from, d.to, d.to - d.from);
}

/* Reads all. @list gets the damaged ranges as JSON; without JSON they are printed, unless @quiet.
 * @return 0 or an exit code. */
static int take_census(struct wal *w, struct census *c, struct buf *list, bool quiet) {
    struct spool_record rec;
    struct err e = {0};
    int rc;
    *c = (struct census){0};
    while ((rc = spool_scan__next(w->scan, &rec, &e)) != 0) {
        if (rc == 1) count_record(c, &rec, w->info.low_water_lsn);
        else if (rc == ERR_CORRUPT) count_damage(c, w, list, quiet);
        else return refuse(&e);
    }
    spool_scan__info(w->scan, &w->info); /* Gaps are counted on the way. */
    return 0;
}

static uint64_t unacked_bytes(const struct spool_scan_info *i) {
    return i->data_end_lsn <= i->low_water_lsn ? 0 : i->end_lsn - i->low_water_lsn;
}

static void print_stat_json(const struct wal *w, const struct census *c) {
    const struct spool_scan_info *i = &w->info;
    printf("{\"version\":1,\"store_id\":\"%s\",\"format_version\":%" PRIu32
           ",\"segment_bytes\":%" PRIu64 ",\"segments\":%" PRIu32 ",\"spares\":%" PRIu32
           ",\"file_bytes\":%" PRIu64 ",\"first_lsn\":%" PRIu64 ",\"end_lsn\":%" PRIu64
           ",\"low_water_lsn\":%" PRIu64 ",\"unacked_bytes\":%" PRIu64 ",\"clean\":%s"
           ",\"torn_bytes\":%" PRIu64 ",\"gap_bytes\":%" PRIu64 ",\"damaged_ranges\":%" PRIu64
           ",\"first_wall_ns\":%" PRId64 ",\"last_wall_ns\":%" PRId64
           ",\"oldest_unacked_wall_ns\":%" PRId64 ",\"records\":{",
           i->store_id, i->format_version, i->segment_bytes, i->n_segments, i->n_spares,
           i->file_bytes, i->first_lsn, i->end_lsn, i->low_water_lsn, unacked_bytes(i),
           i->was_clean ? "true" : "false", i->torn_bytes, i->gap_bytes, c->n_damaged,
           c->first_wall_ns, c->last_wall_ns, c->oldest_unacked_wall_ns);
    for (unsigned t = 0; t < N_TYPES; t++)
        printf("%s\"%s\":{\"records\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", t > 0 ? "," : "",
               type_name(t), c->n_records[t], c->bytes[t]);
    printf("}}\n");
}

static void print_stat(const struct wal *w, const struct census *c) {
    const struct spool_scan_info *i = &w->info;
    char first[40], last[40], oldest[40];
    format_time(c->first_wall_ns, first);
    format_time(c->last_wall_ns, last);
    format_time(c->oldest_unacked_wall_ns, oldest);
    printf("spool      %s, format %" PRIu32 ", %s\n", w->dir, i->format_version,
           i->was_clean ? "ended cleanly" : "in use, or ended without STOP");
    printf("store id   %s\n", i->store_id);
    printf("segments   %" PRIu32 " of %" PRIu64 " bytes, %" PRIu32 " ready; %" PRIu64
           " bytes on disk\n",
           i->n_segments, i->segment_bytes, i->n_spares, i->file_bytes);
    printf("positions  %" PRIu64 " to %" PRIu64 ", low water %" PRIu64 "\n", i->first_lsn,
           i->end_lsn, i->low_water_lsn);
    printf("records    %" PRIu64 ", %s to %s\n", c->n_total, first, last);
    printf("waits      %" PRIu64 " bytes%s%s\n", unacked_bytes(i),
           c->oldest_unacked_wall_ns == 0 ? "" : ", the oldest since ",
           c->oldest_unacked_wall_ns == 0 ? "" : oldest);
    printf("damage     %" PRIu64 " ranges, %" PRIu64 " bytes set aside earlier, %" PRIu64
           " bytes of an unfinished write\n\n",
           c->n_damaged, i->gap_bytes, i->torn_bytes);
    printf("%-12s %12s %16s\n", "TYPE", "RECORDS", "BYTES");
    for (unsigned t = 0; t < N_TYPES; t++)
        if (c->n_records[t] > 0)
            printf("%-12s %12" PRIu64 " %16" PRIu64 "\n", type_name(t), c->n_records[t],
                   c->bytes[t]);
}

static int wal_stat(struct wal *w) {
    struct census c;
    struct buf list = buf__init((size_t)16 << 20);
    int code = take_census(w, &c, &list, true);
    buf__fini(&list);
    if (code != 0) return code;
    if (w->json) print_stat_json(w, &c);
    else print_stat(w, &c);
    return 0;
}

static int wal_verify(struct wal *w) {
    struct census c;
    struct buf list = buf__init((size_t)16 << 20);
    int code = take_census(w, &c, &list, false);
    if (code == 0 && w->json)
        printf("{\"version\":1,\"records\":%" PRIu64
               ",\"damaged\":[%.*s],\"damaged_bytes\":%" PRIu64 ",\"missing\":%" PRIu64
               ",\"torn_bytes\":%" PRIu64 ",\"gap_bytes\":%" PRIu64 "}\n",
               c.n_total, SLICE_FMT(buf__slice(&list)), c.damaged_bytes, c.n_missing,
               w->info.torn_bytes, w->info.gap_bytes);
    buf__fini(&list);
    if (code != 0) return code;
    if (!w->json && w->info.torn_bytes > 0)
        printf("%" PRIu64 " bytes behind position %" PRIu64 " are an unfinished write\n",
               w->info.torn_bytes, w->info.end_lsn);
    if (!w->json && w->info.gap_bytes > 0)
        printf("%" PRIu64 " damaged bytes were set aside by an earlier start: pages in there that "
               "were not stored are lost; souk verify names what ClickHouse lacks\n",
               w->info.gap_bytes);
    if (!w->json)
        printf("%" PRIu64 " records are good, %" PRIu64 " ranges are damaged (%" PRIu64 " bytes)\n",
               c.n_total, c.n_damaged, c.damaged_bytes);
    return c.n_damaged > 0;
}

/* What a record holds, as text: of a page its facts, then the body. */
static void append_text(struct buf *out, struct slice bytes) {
    if (slice__is_utf8(bytes) && memchr(bytes.base, '\0', bytes.len) == NULL) {
        buf__append_slice(out, bytes);
        return;
    }
    for (size_t i = 0; i < bytes.len; i++) buf__printf(out, "%02x", (unsigned char)bytes.base[i]);
}

static void read_payload(const struct spool_record *r, struct buf *out) {
    struct request_facts f;
    struct slice body = {0};
    buf__clear(out);
    bool about_request = r->type == SPOOL_PAGE || r->type == SPOOL_REQUEST;
    if (!about_request || journal__decode(r->payload, &f, &body) != 0) {
        if (r->payload.len > 0) append_text(out, r->payload);
        return;
    }
    buf__printf(out, "%.*s %.*s %.*s http %u %.*s cursor %.*s > %.*s", SLICE_FMT(f.source),
                SLICE_FMT(f.stream), SLICE_FMT(f.path), f.http_status, SLICE_FMT(f.status),
                SLICE_FMT(f.cursor_from), SLICE_FMT(f.cursor_to));
    if (f.error.len > 0) buf__printf(out, " error %.*s", SLICE_FMT(f.error));
    if (body.len == 0) return;
    struct buf plain = buf__init(BODY_MAX);
    int rc = journal__decompress(body, BODY_MAX, &plain);
    buf__append_str(out, "\n");
    if (rc == 0 && plain.len > 0) append_text(out, buf__slice(&plain));
    if (rc != 0) buf__printf(out, "(body cannot be decompressed: %s)", err__text(rc));
    buf__fini(&plain);
}

static void print_record(const struct wal *w, const struct spool_record *r, struct buf *text,
                         struct buf *line) {
    char when[40];
    format_time(r->wall_ns, when);
    if (w->payload) read_payload(r, text);
    if (!w->json) {
        printf("%" PRIu64 " %s %" PRIu32 " %s %zu\n", r->lsn, type_name(r->type), r->source, when,
               r->payload.len);
        if (w->payload && text->len > 0) {
            buf__append(text, "", 1); /* Its end, for err__plain(). */
            printf("%s\n", err__plain(text->base, true));
        }
        return;
    }
    buf__clear(line);
    buf__printf(line,
                "{\"lsn\":%" PRIu64 ",\"next_lsn\":%" PRIu64 ",\"type\":\"%s\",\"source\":%" PRIu32
                ",\"wall_ns\":%" PRId64 ",\"len\":%zu",
                r->lsn, r->next_lsn, type_name(r->type), r->source, r->wall_ns, r->payload.len);
    if (w->payload) {
        buf__append_str(line, ",\"payload\":");
        buf__json_string(line, buf__slice(text));
    }
    printf("%.*s}\n", SLICE_FMT(buf__slice(line)));
}

static int wal_dump(struct wal *w) {
    struct buf text = buf__init(4 * BODY_MAX), line = buf__init(16 * BODY_MAX);
    struct spool_record rec;
    struct err e = {0};
    uint64_t n = 0;
    int rc, code = 0;
    if (w->from > 0) spool_scan__seek(w->scan, w->from);
    while (n < w->limit && (rc = spool_scan__next(w->scan, &rec, &e)) != 0) {
        if (rc == ERR_CORRUPT) {
            fprintf(stderr, "souk: %s\n", e.msg);
            code = EXIT_FAILURE;
            continue;
        }
        if (rc != 1) {
            code = refuse(&e);
            break;
        }
        if (rec.lsn >= w->to) break;
        if (w->type != 0 && rec.type != w->type) continue;
        print_record(w, &rec, &text, &line);
        n++;
    }
    buf__fini(&text);
    buf__fini(&line);
    return code;
}

static int wal_repair(struct wal *w) {
    struct err e = {0};
    int rc = spool__check_lock(w->dir, &e);
    if (rc != 0) return refuse(&e);
    if (!w->yes) {
        int code = wal_verify(w);
        fprintf(stderr, "souk: nothing was changed; add --yes to repair\n");
        return code == 0 ? EXIT_USAGE : code;
    }
    uv_loop_t loop;
    struct clock clock;
    struct metrics metrics;
    struct spool *spool = NULL;
    struct spool_status st = {0};
    struct spool_options options = {.dir = w->dir,
                                    .segment_bytes = w->info.segment_bytes,
                                    .quota_bytes = UINT64_MAX / 4,
                                    .retain_ns = INT64_MAX / 2}; /* Nothing goes for its age. */
    clock__read(&clock);
    uv_loop_init(&loop);
    metrics__init(&metrics);
    rc = spool__open(&spool, &loop, &clock, &metrics, &options, &e);
    if (rc == 0) {
        spool__status(spool, &st);
        spool__close(spool, NULL, NULL);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    metrics__fini(&metrics);
    if (rc != 0) return refuse(&e);
    printf(w->json ? "{\"version\":1,\"torn_bytes\":%" PRIu64 ",\"set_aside_bytes\":%" PRIu64
                     ",\"missing\":%" PRIu32 "}\n"
                   : "cut off %" PRIu64 " bytes of an unfinished write; set aside %" PRIu64
                     " damaged bytes, with copies in bad/; %" PRIu32
                     " segments are gone or short\n",
           st.torn_bytes, st.corrupt_bytes, st.n_missing);
    return 0;
}

static bool parse_u64(const char *text, uint64_t *out) {
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    *out = strtoull(text, &end, 10);
    return *end == '\0';
}

static bool parse_type(const char *text, unsigned *out) {
    for (unsigned t = 1; t < N_TYPES; t++)
        if (strcmp(text, type_names[t]) == 0) {
            *out = t;
            return true;
        }
    return false;
}

static void refuse_value(int opt, const char *value) {
    const char *name = opt == 'd'   ? "dir"
                       : opt == 'f' ? "from"
                       : opt == 't' ? "to"
                       : opt == 'l' ? "limit"
                                    : "type";
    const char *wanted = opt == 'd'   ? "a shorter path"
                         : opt == 'l' ? "a number"
                         : opt == 'y' ? "a type of records, such as page"
                                      : "a position in the log";
    fprintf(stderr, "souk: --%s takes %s, not %s\n", name, wanted, value);
}

/* @return false after saying what is wrong. */
static bool parse_options(const struct command *c, struct wal *w, int argc, char **argv) {
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'},   {"from", required_argument, NULL, 'f'},
        {"to", required_argument, NULL, 't'},    {"type", required_argument, NULL, 'y'},
        {"limit", required_argument, NULL, 'l'}, {"payload", no_argument, NULL, 'p'},
        {"yes", no_argument, NULL, 'Y'},         {NULL, 0, NULL, 0}};
    bool ok = true;
    for (int opt; ok && (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (opt) {
        case 'd': ok = (size_t)snprintf(w->dir, sizeof w->dir, "%s", optarg) < sizeof w->dir; break;
        case 'f': ok = parse_u64(optarg, &w->from); break;
        case 't': ok = parse_u64(optarg, &w->to); break;
        case 'l': ok = parse_u64(optarg, &w->limit); break;
        case 'y': ok = parse_type(optarg, &w->type); break;
        case 'p': w->payload = true; break;
        case 'Y': w->yes = true; break;
        default: refuse_option(c); return false;
        }
        if (!ok) refuse_value(opt, optarg);
    }
    return ok;
}

int verb_wal(struct command *c, int argc, char **argv) {
    static const struct {
        const char *name;
        int (*run)(struct wal *w);
    } actions[] = {
        {"stat", wal_stat}, {"dump", wal_dump}, {"verify", wal_verify}, {"repair", wal_repair}};
    struct wal w = {.json = c->json, .to = UINT64_MAX, .limit = UINT64_MAX};
    int (*run)(struct wal *) = NULL;
    if (!parse_options(c, &w, argc, argv)) return EXIT_USAGE;
    for (size_t i = 0; i < sizeof actions / sizeof *actions && optind < argc; i++)
        if (strcmp(argv[optind], actions[i].name) == 0) run = actions[i].run;
    if (run == NULL) {
        fprintf(stderr, "souk: wal takes stat, dump, verify or repair; see souk wal --help\n");
        return EXIT_USAGE;
    }
    optind++; /* What it is to do. */
    int code = refuse_rest(c, argc, argv);
    if (code != 0) return code;
    if (w.dir[0] == '\0') {
        struct settings settings;
        code = load_config(c, &settings);
        if (code != 0) return code;
        snprintf(w.dir, sizeof w.dir, "%s/spool", settings.config->state_dir);
        settings__fini(&settings);
    } else {
        log__setup(stderr, LOG_FORMAT_LOGFMT, LOG_LEVEL_WARN);
    }
    struct err e = {0};
    int rc = spool_scan__open(&w.scan, w.dir, &e);
    if (rc != 0) return refuse(&e);
    spool_scan__info(w.scan, &w.info);
    if (w.info.store_id[0] != '\0') {
        code = run(&w);
    } else { /* Nothing to look at is not nothing wrong: the folder may be another. */
        fprintf(stderr, "souk: there is no log in %s\n", w.dir);
        code = EXIT_CANT_CREATE;
    }
    spool_scan__close(w.scan);
    return code;
}
