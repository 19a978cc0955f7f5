/* Opening a spool whose files hold anything. The input is a script: records are laid down with
 * right checksums but any length, type and place, then bytes are overwritten and files cut. The
 * spool must open, read to its end in bounded steps, take a record, close clean, and find no new
 * damage. */
#include "../../src/spool/format.h"
#include "souk/core/log.h"
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FUZZ_SEGMENT (16u << 10)
#define FUZZ_FILES 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

/* Takes the files away; the folders stay, since making them costs as much as what is tried. */
static void empty_dir(const char *path) {
    char name[400];
    DIR *d = opendir(path);
    if (d == NULL) return;
    for (struct dirent *x; (x = readdir(d)) != NULL;) {
        if (x->d_type != DT_REG) continue;
        snprintf(name, sizeof name, "%s/%s", path, x->d_name);
        if (unlink(name) != 0) abort();
    }
    closedir(d);
}

static void empty_dirs(void) {
    char bad[80];
    snprintf(bad, sizeof bad, "%s/bad", dir);
    empty_dir(bad);
    empty_dir(dir);
}

static void remove_dirs(void) {
    char bad[80];
    snprintf(bad, sizeof bad, "%s/bad", dir);
    empty_dirs();
    rmdir(bad);
    rmdir(dir);
}

static void make_dir(void) {
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.40s/fuzz_spool_XXXXXX", base == NULL ? "/dev/shm" : base);
    if (mkdtemp(dir) == NULL) abort();
    atexit(remove_dirs);
    log__setup(fopen("/dev/null", "w"), LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
}

static void write_files(struct reader *in) {
    static unsigned char files[FUZZ_FILES][FUZZ_SEGMENT];
    struct spool_form form = {0};
    char path[128];
    form__init(&form, (const unsigned char *)"fuzz fuzz fuzz f", FUZZ_SEGMENT);
    memset(files, 0, sizeof files);
    size_t lengths[FUZZ_FILES];
    uint64_t at[FUZZ_FILES];
    for (size_t i = 0; i < FUZZ_FILES; i++) {
        segment_header__encode(&form, i + 1, 0, files[i]);
        lengths[i] = FUZZ_SEGMENT;
        at[i] = SEGMENT_HEADER;
    }
    while (!in->failed && in->pos < in->len) {
        uint8_t op = reader__u8(in);
        size_t i = op % FUZZ_FILES;
        uint16_t a = reader__u16(in), b = reader__u16(in);
        if (op < 128) { /* A record, its header true but for what the input says. */
            uint64_t extent = record__extent(a % 2048u);
            if (at[i] + extent > FUZZ_SEGMENT) continue;
            uint16_t type = b < 256 ? b % 16 : b;
            record__encode(files[i] + at[i],
                           &(struct record_header){.len = a % 2048u,
                                                   .lsn = form__lsn(&form, i + 1, at[i]),
                                                   .type = type});
            /* What END names, a checkpoint's mark, what STOP says is synced: mostly near the truth. */
            if (a % 2048u >= 8)
                put_le(files[i] + at[i] + RECORD_HEADER,
                       type == RECORD_END ? i + 2 : form__lsn(&form, 1 + b / 16 % 4, at[i]), 8);
            record__seal(&form, i + 1, at[i], files[i] + at[i]);
            at[i] += extent;
        } else if (op < 250) { /* Overwrite. */
            files[i][a % FUZZ_SEGMENT] = (unsigned char)b;
        } else {
            lengths[i] = a % (FUZZ_SEGMENT + 1);
        }
    }
    for (size_t i = 0; i < FUZZ_FILES; i++) {
        snprintf(path, sizeof path, "%s/%016zu.wal", dir, i + 1);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || write(fd, files[i], lengths[i]) != (ssize_t)lengths[i]) abort();
        close(fd);
    }
}

static void read_all(const struct spool *s) {
    struct spool_reader r;
    struct spool_record rec;
    struct spool_status st;
    struct err e;
    spool__status(s, &st);
    spool_reader__init(&r, s, st.first_lsn);
    int rc;
    for (size_t n = 0; (rc = spool_reader__next(&r, UINT64_MAX, &rec, &e)) != 0; n++) {
        assert(rc == 1 || rc == ERR_CORRUPT);
        assert(n < 100000);
    }
    spool_reader__fini(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (dir[0] == '\0') make_dir();
    empty_dirs();
    struct reader in = reader__of(slice__of((const char *)data, size));
    write_files(&in);
    struct spool_options options = {
        .dir = dir, .segment_bytes = FUZZ_SEGMENT, .quota_bytes = 64 * FUZZ_SEGMENT};
    struct clock clock = {.wall_ns = NS_PER_S};
    for (int round = 0; round < 2; round++) {
        uv_loop_t loop;
        struct metrics metrics;
        struct spool *s;
        struct spool_status st;
        struct err e = {0};
        uv_loop_init(&loop);
        metrics__init(&metrics);
        int rc = spool__open(&s, &loop, &clock, &metrics, &options, &e);
        /* Another version or size is a refusal, not damage. */
        assert(rc == 0 || rc == ERR_CORRUPT || rc == ERR_CONFIG);
        if (rc == 0) {
            spool__status(s, &st);
            if (getenv("FUZZ_VERBOSE") != NULL)
                fprintf(stderr,
                        "round %d: corrupt %" PRIu64 ", torn %" PRIu64 ", missing %u, clean %d\n",
                        round, st.corrupt_bytes, st.torn_bytes, st.n_missing, st.was_clean);
            assert(round == 0 || (st.corrupt_bytes == 0 && st.torn_bytes == 0 && st.was_clean));
            read_all(s);
            struct slice part = SLICE_LIT("payload");
            assert(spool__append(s, SPOOL_ACK, 1, &part, 1, NULL, NULL, &e) >= st.end_lsn);
            spool__close(s, NULL, NULL);
            uv_run(&loop, UV_RUN_DEFAULT);
        }
        uv_loop_close(&loop);
        metrics__fini(&metrics);
    }
    return 0;
}
