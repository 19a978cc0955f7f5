/* A writer that is killed at any moment: what it was told is synced must be there. */
#include "test_spool_fixture.h"
#include <poll.h>
#include <signal.h>

#define N_KILLS 50

struct child {
    struct fixture *f;
    uint32_t next;
    int pipe_fd;
};

static void on_child_synced(void *data, uint64_t lsn, int status) {
    struct child *c = data;
    (void)lsn;
    if (status != 0) _exit(3);
    /* One number for each callback; the pipe outlives the process. */
    static uint32_t n_told;
    uint32_t n = c->next + n_told++;
    if (write(c->pipe_fd, &n, sizeof n) != sizeof n) _exit(4);
}

/* Appends pages and now and then a checkpoint, until it is killed. */
static void run_child(struct fixture *f, uint32_t next, int pipe_fd) {
    struct child c = {f, next, pipe_fd};
    char bytes[2000];
    open_spool(f);
    for (uint32_t i = next;; i++) {
        size_t len = i * 37 % sizeof bytes;
        for (size_t k = 0; k < len; k++) bytes[k] = (char)(i * 31 + k);
        struct slice part = slice__of(bytes, len);
        struct err e;
        if (spool__append(f->spool, SPOOL_PAGE, i, &part, 1, on_child_synced, &c, &e) == 0)
            _exit(5);
        if (i % 64 == 0)
            spool__checkpoint(f->spool, status_of(f).low_water_lsn, slice__of(bytes, 100), &e);
        uv_run(&f->loop, i % 8 == 0 ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    }
}

static void test_killed_writer_loses_nothing_that_was_synced(void **state) {
    struct fixture *f = *state;
    uint32_t n_told = 0; /* Pages 0 to this are synced, as far as was heard. */
    uint64_t x = 2463534242u;
    f->options.quota_bytes = 1 << 30;
    for (int kill_n = 0; kill_n < N_KILLS; kill_n++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(fds[0]);
            run_child(f, n_told, fds[1]);
        }
        close(fds[1]);
        /* The kill comes after a random number of callbacks, so at any step of the next group. */
        uint64_t n_callbacks = next_random(&x) % 60, n_heard = 0;
        uint32_t n;
        while (n_heard < n_callbacks && read(fds[0], &n, sizeof n) == sizeof n) {
            n_heard++;
            n_told = n + 1;
        }
        /* Spread over the microseconds of a write and a sync. */
        struct pollfd none = {.fd = -1};
        poll(&none, 1, (int)(next_random(&x) % 3));
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(fds[0], &n, sizeof n) == sizeof n) n_told = n + 1;
        close(fds[0]);

        unsigned char *seen = calloc(1, n_told + 100000u);
        open_spool(f);
        assert_int_equal(status_of(f).corrupt_bytes, 0);
        assert_int_equal(status_of(f).n_missing, 0);
        uint32_t n_pages = (uint32_t)read_pages(f, seen, n_told + 100000u, NULL);
        assert_true(n_pages >= n_told);
        for (uint32_t i = 0; i < n_pages; i++)
            if (seen[i] != 1) fail_msg("kill %d: page %u was read %d times", kill_n, i, seen[i]);
        n_told = n_pages; /* The next child goes on behind what is there. */
        free(seen);
        close_spool(f);
    }
    assert_true(n_told > 100);
    print_message("%u pages, %d kills\n", n_told, N_KILLS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_killed_writer_loses_nothing_that_was_synced,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
