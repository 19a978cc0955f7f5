/* What the engine cannot do once it is confined, by every way that the kernel has to it. */
#include "sandbox.h"
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif

enum way { BY_CONNECT, BY_SENDTO, BY_SENDMSG, BY_SENDMMSG, BY_IO_URING, BY_X32, WAYS };

/* @return errno of the attempt to reach @to, 0 when nothing stood in the way. */
static int attempt(enum way way, struct sockaddr_in *to) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct iovec part = {.iov_base = "x", .iov_len = 1};
    struct mmsghdr message = {.msg_hdr = {.msg_name = to, .msg_namelen = sizeof *to, .msg_iov = &part, .msg_iovlen = 1}};
    static char params[256];
    long rc = -1;
    errno = 0;
    switch (way) {
    case BY_CONNECT: rc = connect(fd, (struct sockaddr *)to, sizeof *to); break;
    case BY_SENDTO: rc = sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)to, sizeof *to); break;
    case BY_SENDMSG: rc = sendmsg(fd, &message.msg_hdr, MSG_FASTOPEN); break;
    case BY_SENDMMSG: rc = sendmmsg(fd, &message, 1, MSG_FASTOPEN); break;
    case BY_IO_URING: rc = syscall(SYS_io_uring_setup, 1, params); break;
    case BY_X32: rc = syscall(0x40000000 | SYS_connect, fd, to, sizeof *to); break;
    case WAYS: break;
    }
    return rc >= 0 ? 0 : errno;
}

/* Talking on what is open goes on. @return whether it does. */
static bool can_talk(void) {
    int pair[2];
    char c = 0;
    struct iovec part = {.iov_base = "x", .iov_len = 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && sendto(pair[0], "x", 1, MSG_NOSIGNAL, NULL, 0) == 1 &&
           sendmsg(pair[0], &message, MSG_NOSIGNAL) == 1 && recv(pair[1], &c, 1, 0) == 1 && c == 'x';
}

static bool has_arrived(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

/* @return the status of a child that is confined and tries it: its errno, 200 when it could not be confined. */
static int try_in_a_child(enum way way, struct sockaddr_in *to, bool may_connect) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        const char *open = sandbox__enter("/tmp", "/usr", may_connect);
        if (open != NULL && strstr(open, "seccomp") != NULL) _exit(200);
        _exit(can_talk() ? attempt(way, to) : 201);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_no_way_makes_a_connection(void **state) {
    (void)state;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof to;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&to, &len), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(try_in_a_child(BY_CONNECT, &to, true), 0);
    assert_true(has_arrived(listener));
    if (try_in_a_child(BY_CONNECT, &to, false) == 200) {
        print_message("skipped: this kernel has no seccomp\n");
        skip();
    }
    for (enum way way = 0; way < WAYS; way++) {
#ifndef __x86_64__
        if (way == BY_X32) continue;
#endif
        assert_int_equal(try_in_a_child(way, &to, false), EACCES);
        assert_false(has_arrived(listener));
    }
    close(listener);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_way_makes_a_connection)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
