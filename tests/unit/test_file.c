/* What lies where a configuration or state file should: nothing keeps us waiting, and nothing but a
 * regular file is taken. Without the mend each of these would hang; the alarm ends the test then. */
#include "souk/config.h"
#include "souk/core/file.h"
#include "souk/tape.h"
#include "test_dir.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <cmocka.h>

#define HANGS_S 120

static char dir[32];

static const char *in_dir(const char *name) {
    static char path[64];
    snprintf(path, sizeof path, "%s/%.24s", dir, name);
    return path;
}

static int setup(void **state) {
    (void)state;
    alarm(HANGS_S);
    strcpy(dir, "/tmp/souk_file_XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_int_equal(mkdir(in_dir("folder"), 0700), 0);
    assert_int_equal(symlink("fifo", in_dir("link")), 0);
    assert_int_equal(symlink("/dev/zero", in_dir("device")), 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", in_dir("socket"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    close(fd);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    remove_dir(dir);
    alarm(0);
    return 0;
}

static const char *const others[] = {"fifo", "folder", "link", "device", "socket"};

static void test_only_regular_files_are_opened(void **state) {
    static const int flags[] = {O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC, O_RDWR | O_CREAT};
    char byte;
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        for (size_t k = 0; k < 3; k++) {
            bool folder = strcmp(others[i], "folder") == 0 && flags[k] != O_RDONLY;
            errno = 0;
            assert_int_equal(file__open(AT_FDCWD, in_dir(others[i]), flags[k]), -1);
            assert_int_equal(errno, folder ? EISDIR : FILE_NOT_REGULAR);
        }
        assert_int_equal(file__read(in_dir(others[i]), &byte, 1), -1);
        assert_null(file__stream(in_dir(others[i]), O_RDONLY));
    }
    assert_string_equal(file__strerror(FILE_NOT_REGULAR), "it is no regular file");
    assert_int_equal(file__open(AT_FDCWD, in_dir("nothing"), O_RDONLY), -1);
    assert_int_equal(errno, ENOENT);
}

static void test_a_regular_file_is_read_to_its_end_or_ours(void **state) {
    char text[8];
    (void)state;
    FILE *f = file__stream(in_dir("file"), O_WRONLY | O_CREAT | O_TRUNC);
    assert_non_null(f);
    assert_int_equal(fputs("abcdef", f), 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(file__read(in_dir("file"), text, sizeof text), 6);
    assert_memory_equal(text, "abcdef", 6);
    assert_int_equal(file__read(in_dir("file"), text, 4), 4);
    f = file__stream(in_dir("file"), O_WRONLY | O_TRUNC); /* What was there is gone. */
    assert_non_null(f);
    fclose(f);
    assert_int_equal(file__read(in_dir("file"), text, sizeof text), 0);
}

static const char *no_env(const char *name) {
    (void)name;
    return NULL;
}

static void test_a_configuration_is_a_file(void **state) {
    static struct config_errors errors;
    struct config *c = NULL;
    char yaml[256];
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(config__load(in_dir(others[i]), &c, &errors), ERR_IO);
        assert_non_null(strstr(errors.line[0], "it is no regular file"));
        snprintf(yaml, sizeof yaml, "clickhouse:\n  password_file: %s\n", in_dir(others[i]));
        assert_int_not_equal(config__parse("f", slice__str(yaml), no_env, &c, &errors), 0);
        assert_non_null(strstr(errors.line[0], "it is no regular file"));
    }
}

static void test_a_snapshot_is_a_file(void **state) {
    struct err e = {0};
    uint64_t lsn;
    (void)state;
    assert_int_equal(tape__peek(in_dir("fifo"), &lsn, &e), ERR_IO);
    assert_non_null(strstr(e.msg, "it is no regular file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_regular_files_are_opened, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_regular_file_is_read_to_its_end_or_ours, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_configuration_is_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_snapshot_is_a_file, setup, teardown)};
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
