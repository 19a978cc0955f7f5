/* Files of recorded bodies: which there are below a folder, and their bytes. */
#ifndef SOUK_REPLAY_BODY_FILE_H
#define SOUK_REPLAY_BODY_FILE_H

#include "souk/core/buf.h"
#include "souk/core/err.h"

#define BODY_FILE_BYTES_MAX ((size_t)256 << 20)
#define BODY_FILES_MAX 1000000

enum body_file_kind { BODY_FILE_PAGE, BODY_FILE_PAGES, BODY_FILE_OVERVIEW };

/* A file name read: KIND[-WORDS][@TIME@CURSOR].json[l][.gz|.zst] */
struct body_file {
    char *path; /* Owned. */
    char *name; /* Borrowed: in path, behind the last slash. */
    enum body_file_kind kind;
    size_t rank; /* Files are read by rank, then by the bytes of their names. */
};
struct body_files {
    struct body_file *files; /* Owned. */
    size_t n, cap;
};

/** Lists psapi/ and ninja/ below @dir, in order. @return 0, ERR_NOT_FOUND when neither holds a file
 *  of the kinds, ERR_IO, ERR_LIMIT, ERR_NOMEM. */
int body_files__list(struct body_files *out, const char *dir, struct err *e);
void body_files__fini(struct body_files *f);
/** Reads @path whole into @out, through gzip or zstd as its name says. @return 0, ERR_IO, ERR_LIMIT
 *  beyond BODY_FILE_BYTES_MAX, ERR_NOMEM. */
int body_file__read(const char *path, struct buf *out, struct err *e);

#endif
