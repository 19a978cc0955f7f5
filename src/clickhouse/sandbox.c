/*
 * The happy path: a Landlock ruleset with a rule for each folder, then a seccomp filter that
 * refuses connect() and the other ways to the same. What can fail: a kernel without one or the
 * other (Landlock of Linux 5.19 or newer is needed, as the engine renames parts between folders);
 * then the rest holds and the caller is told.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of newer headers than Debian 12's. */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif
#define X32_BIT 0x40000000u /* Numbers of x32 on x86-64; nowhere else are any so large. */
/* Of a system call's argument; both machines are little-endian. */
#define LOW_HALF(i) (offsetof(struct seccomp_data, args) + sizeof(uint64_t) * (i))

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#endif

enum {
    ABI_MIN = 2,      /* The first that lets a file be renamed into another folder. */
    ABI_TRUNCATE = 3, /* The first that knows truncation. */
};

static const uint64_t reading =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
/* All rights of the first version, and renaming; device nodes are made nowhere. */
static const uint64_t all_rights =
    ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) | LANDLOCK_ACCESS_FS_REFER;
static const uint64_t devices =
    LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SOCK;

/* What is read besides the engine's own. Not /proc: that of other processes of the same user holds
 * their environment. Not /etc: the engine resolves no names and reads no users there. */
static const char *const read_only[] = {
    "/usr",
    "/lib",
    "/lib64",
    "/sys",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/ld.so.cache",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/vmstat",
    "/proc/version",
    "/proc/diskstats",
    "/proc/filesystems",
    "/proc/sys",
    "/proc/pressure",
    "/dev/urandom",
    "/dev/random",
};
static const char *const writable_devices[] = {"/dev/null", "/dev/tty", "/dev/pts", "/dev/ptmx"};

static void allow(int ruleset, const char *path, uint64_t rights) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0) return; /* What is not there needs no rule. */
    if (fstat(fd, &st) == 0) {
        if (!S_ISDIR(st.st_mode)) /* Rights of folders are refused for anything else. */
            rights &= LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
                      LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE;
        struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    }
    close(fd);
}

static bool restrict_files(const char *folder, const char *library) {
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < ABI_MIN) return false;
    uint64_t rights = all_rights;
    if (abi >= ABI_TRUNCATE) rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
    struct landlock_ruleset_attr attributes = {.handled_access_fs = rights};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes,
                               sizeof attributes.handled_access_fs, 0);
    if (ruleset < 0) return false;
    char own[PATH_MAX];
    int n = snprintf(own, sizeof own, "%s/db", folder);
    if (n > 0 && n < PATH_MAX) allow(ruleset, own, rights & ~devices);
    allow(ruleset, folder, reading);
    allow(ruleset, library, reading);
    for (size_t i = 0; i < sizeof read_only / sizeof read_only[0]; i++)
        allow(ruleset, read_only[i], reading);
    for (size_t i = 0; i < sizeof writable_devices / sizeof writable_devices[0]; i++)
        allow(ruleset, writable_devices[i],
              (reading | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE) & rights);
    bool done = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    close(ruleset);
    return done;
}

static bool refuse_connections(void) {
#ifdef OWN_ARCH
    enum { FLAGS_OF_SENDTO = 3, FLAGS_OF_SENDMSG = 2 }; /* Which argument. */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), /* System calls of another ABI. */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 10, 0), /* The same calls by other numbers. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 9, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 8, 0), /* Connects for others. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendmmsg, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendmsg, 3, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW_HALF(FLAGS_OF_SENDTO)),
        BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW_HALF(FLAGS_OF_SENDMSG)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MSG_FASTOPEN, 0, 1), /* Connects as it sends. */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
#else
    return false;
#endif
}

const char *sandbox__enter(const char *folder, const char *library, bool may_connect) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return "this kernel cannot confine the engine";
    bool files = restrict_files(folder, library);
    bool net = may_connect || refuse_connections();
    if (files && net) return NULL;
    if (files)
        return "this kernel has no seccomp: who has the password can make the engine connect "
               "to other hosts";
    return net ? "this kernel has no Landlock (Linux 5.19): who has the password can read what "
                 "this "
                 "user can read"
               : "this kernel has neither Landlock nor seccomp: who has the password can read what "
                 "this user can read, and send it";
}

void sandbox__clear_environment(const char *home) {
    static const char *const kept[] = {"TZ", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH"};
    enum { N_KEPT = sizeof kept / sizeof kept[0] };
    char *values[N_KEPT];
    for (size_t i = 0; i < N_KEPT; i++) {
        const char *value = getenv(kept[i]);
        values[i] = value != NULL ? strdup(value) : NULL;
    }
    /* What the kernel shows as /proc/self/environ are the strings themselves, not what points at
     * them. */
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        memset(*entry, 0, strlen(*entry));
    clearenv();
    for (size_t i = 0; i < N_KEPT; i++) {
        if (values[i] != NULL) setenv(kept[i], values[i], 1);
        free(values[i]);
    }
    setenv("HOME", home, 1);
    setenv("TERM", "dumb", 1); /* No colours and no line editor in the log. */
}
