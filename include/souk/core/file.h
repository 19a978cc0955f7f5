/* Opening files that are configuration or state.
 *
 * Whoever may write where such a file lies can put something else there: a FIFO keeps an open(2) or
 * a read waiting for ever, and with it the loop; a device answers without end. So nothing but a
 * regular file, or a link to one, is opened, and opening does not wait. */
#ifndef SOUK_CORE_FILE_H
#define SOUK_CORE_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/types.h>

/** The errno of what is there, and is no regular file. */
#define FILE_NOT_REGULAR EMEDIUMTYPE

/** openat with @flags, O_CLOEXEC and O_NONBLOCK; with O_CREAT the file is 0640. @dir_fd: AT_FDCWD
 *  for the working folder. @return the descriptor, the caller's; -1 with errno, which is
 *  FILE_NOT_REGULAR for all that is no regular file (EISDIR where a folder was to be written). */
int file__open(int dir_fd, const char *path, int flags);
/** fdopen of the same, for O_RDONLY or O_WRONLY. @return NULL with errno. */
FILE *file__stream(const char *path, int flags);
/** Reads the first @size bytes of @path. @return how many there were, @size when the file is that
 *  long or longer; -1 with errno. */
ssize_t file__read(const char *path, void *out, size_t size);
/** strerror, and words for FILE_NOT_REGULAR. */
const char *file__strerror(int errnum);

#endif
