/**
 * What the engine may touch on this machine. Its SQL has ways to files and hosts that no grant
 * closes when it runs as `clickhouse local`: the function file(), INSERT … FROM INFILE, disks named
 * in a CREATE TABLE. So the kernel closes them.
 */
#ifndef SOUK_CLICKHOUSE_SANDBOX_H
#define SOUK_CLICKHOUSE_SANDBOX_H

#include <stdbool.h>

/**
 * For the calling process and all that it starts, for good: files can be written below @folder/db
 * only, and read there, in @folder, in the system's folders of libraries and in what tells of the
 * machine, but not in anybody's home (Landlock); and unless @may_connect it makes no TCP
 * connection: connect() is refused, and so are sending with MSG_FASTOPEN, io_uring, and the x32
 * numbers of system calls (seccomp). Datagrams are not.
 * @library is readable too. Must be called while the process has one thread.
 * @return NULL, or what is left open and why, in one line; static.
 */
const char *sandbox__enter(const char *folder, const char *library, bool may_connect);

/** Forgets the environment but for what an engine needs: it may hold secrets of others. */
void sandbox__clear_environment(const char *home);

#endif
