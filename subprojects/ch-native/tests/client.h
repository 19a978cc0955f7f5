/** Runs requests one at a time, each until its callback, and keeps what came. */
#ifndef CHN_TESTS_CLIENT_H
#define CHN_TESTS_CLIENT_H

#include <ch_native/ch_native.h>

struct client {
    uv_loop_t loop;
    struct chn_conn *conn;
    bool done;          /* The callback of the last request has come. */
    struct chn_err err; /* Of it; code 0 when all was well. */
    struct chn_exception exception;
    enum chn_outcome outcome;
    struct chn_insert_result insert;
    struct chn_query_result query;
    char text[1 << 16]; /* The result as TSV. */
    size_t n_text;
    unsigned n_lost, n_blocks;
    int cancel_after; /* Blocks; 0 never. */
};

void client__open(struct client *c, const struct chn_options *options);
void client__close(struct client *c);
int client__connect(struct client *c);
int client__ping(struct client *c);
/** @return 0 or the code of @err; the rows are in @text. */
int client__query(struct client *c, const struct chn_query *query);
int client__sql(struct client *c, const char *sql, enum chn_compression compression);
/** The same, which must go well. */
void client__run(struct client *c, const char *sql);
enum chn_outcome client__insert(struct client *c, const struct chn_insert *insert);
/** Runs the loop until the request under way has called back. */
void client__wait(struct client *c);

/* The callbacks, for tests which start requests themselves; their data is the client. */
void client__on_connect(struct chn_conn *conn, void *data, const struct chn_err *err,
                        const struct chn_exception *e);
void client__on_insert(struct chn_conn *conn, void *data, const struct chn_insert_result *result);
void client__on_query(struct chn_conn *conn, void *data, const struct chn_query_result *result);

#endif
