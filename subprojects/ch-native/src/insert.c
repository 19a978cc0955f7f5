/*
 * Inserts of one block. The happy path: compress if asked, send statement and marker, wait for the
 * table's columns if this statement is new on this connection, compare, send block and terminator,
 * read the end of stream. A statement that has been compared goes out in one write with its block.
 *
 * What can fail decides the outcome: before the block's first byte it was not sent; an exception is
 * a rejection; all else is unknown. The connection is dropped in each case.
 */
#include "conn.h"

#include "frame.h"
#include "profile.h"

#include <stdlib.h>

enum {
    INSERT_WAS_DEDUPLICATED = 389,
    UNKNOWN_STATUS_OF_INSERT = 319
}; /* ClickHouse, src/Common/ErrorCodes.cpp. */

const char *chn_outcome__text(enum chn_outcome outcome) {
    static const char *const texts[] = {"ok", "rejected", "not sent", "unknown"};
    return (unsigned)outcome < 4 ? texts[outcome] : "?";
}

static bool is_verified(const struct chn_conn *c) {
    unsigned n = c->n_verified < CHN_VERIFIED_MAX ? c->n_verified : CHN_VERIFIED_MAX;
    for (unsigned i = 0; i < n; i++)
        if (c->verified[i].low == c->statement.low && c->verified[i].high == c->statement.high)
            return true;
    return false;
}

static void finish(struct chn_conn *c, enum chn_outcome outcome, const struct chn_err *err,
                   const struct chn_exception *exception) {
    struct chn_err copy;
    struct chn_insert_result result = c->insert_result;
    result.outcome = outcome;
    if (err != NULL) {
        copy = *err;
        result.err = &copy;
    }
    result.exception = exception;
    c->parser.compressed = false;
    c->cb.insert(c, c->cb_data, &result);
}

void chn_insert__fail(struct chn_conn *c, const struct chn_err *err) {
    if (c->packing.running) { /* The pool reads the caller's bytes: the end waits for it, in
                                 on_packed(). */
        uv_cancel((uv_req_t *)&c->packing.work);
        c->err = *err;
        return;
    }
    finish(c, c->block_sent ? CHN_UNKNOWN : CHN_NOT_SENT, err, NULL);
}

static void fail_with(struct chn_conn *c, int code, const char *what) {
    struct chn_err err;
    chn_err__setf(&err, code, "%s:%u: insert into %.80s: %s", c->host, c->port, c->insert.table,
                  what);
    chn_conn__fail(c, &err);
}

/* --- Sending --- */

static void add_buf(struct chn_conn *c, const void *data, size_t n) {
    /* uv_buf_t's length is a size_t on POSIX, uv_buf_init()'s argument is not. */
    uv_buf_t buf = {.base = (char *)(uintptr_t)data, .len = n};
    if (n > 0) chn_buf__put(&c->bufs, &buf, sizeof buf);
}

/* The block's packet of @n bytes is next; in chunks its size goes first. */
static void begin_chunk(struct chn_conn *c, uint64_t n) {
    if (!c->parser.server.chunks_out) return;
    chn_store_le(c->chunk_size, n, sizeof c->chunk_size);
    add_buf(c, c->chunk_size, sizeof c->chunk_size);
}

/* Ends it, and begins the one that ends the insert, of @n_last bytes. */
static void end_chunk(struct chn_conn *c, uint8_t n_last) {
    static const uint8_t sizes[2][8] = {{0, 0, 0, 0, sizeof chn_empty_packet},
                                        {0, 0, 0, 0, sizeof chn_frame_empty_block + 2}};
    if (c->parser.server.chunks_out)
        add_buf(c, sizes[n_last == sizeof chn_empty_packet ? 0 : 1], sizeof sizes[0]);
}

static void end_last_chunk(struct chn_conn *c) {
    static const uint8_t end[4];
    if (c->parser.server.chunks_out) add_buf(c, end, sizeof end);
}

static void add_block(struct chn_conn *c) {
    if (c->insert.compression != CHN_NO_COMPRESSION) {
        begin_chunk(c, sizeof chn_data_head + c->packing.out.n);
        add_buf(c, chn_data_head, sizeof chn_data_head);
        add_buf(c, c->packing.out.data, c->packing.out.n);
        end_chunk(c, sizeof chn_data_head + sizeof chn_frame_empty_block);
        add_buf(c, chn_data_head, sizeof chn_data_head);
        add_buf(c, chn_frame_empty_block, sizeof chn_frame_empty_block);
        c->insert_result.sent_bytes = c->packing.out.n;
    } else {
        const struct chn_slice *pieces =
            (const struct chn_slice *)(const void *)c->insert_pieces.data;
        begin_chunk(c, sizeof chn_data_head + c->block_bytes);
        add_buf(c, chn_data_head, sizeof chn_data_head);
        for (size_t i = 0; i < c->insert_pieces.n / sizeof *pieces; i++)
            add_buf(c, pieces[i].data, pieces[i].n);
        end_chunk(c, sizeof chn_empty_packet);
        add_buf(c, chn_empty_packet, sizeof chn_empty_packet);
        c->insert_result.sent_bytes = c->block_bytes;
    }
    end_last_chunk(c);
}

static int write_bufs(struct chn_conn *c, struct chn_err *err) {
    if (c->bufs.failed)
        return chn_err__setf(err, CHN_ERR_MEMORY, "%s:%u: no memory", c->host, c->port);
    return chn_conn__write(c, (const uv_buf_t *)(const void *)c->bufs.data,
                           (unsigned)(c->bufs.n / sizeof(uv_buf_t)), err);
}

static void move_to_sending(struct chn_conn *c) {
    chn_conn__move(c, CHN_SENDING, chn_or(c->options.send_ms, 60000));
    c->taken_bytes = chn_link__taken(c->link);
    chn_conn__limit_silence(c, c->options.stall_ms);
}

/* The statement, with the block behind it when the statement is known. @return 0 or an error:
 * nothing was sent. */
static int send_first(struct chn_conn *c, struct chn_err *err) {
    bool pipelined = is_verified(c);
    c->bufs.n = 0;
    add_buf(c, c->head.data, c->head.n);
    if (pipelined) add_block(c);
    c->insert_result.pipelined = pipelined;
    c->block_sent = pipelined;
    int code = write_bufs(c, err);
    if (code != 0) {
        c->block_sent = false;
        return code;
    }
    c->parser.compressed = c->insert.compression != CHN_NO_COMPRESSION;
    if (pipelined) move_to_sending(c);
    else chn_conn__move(c, CHN_HEADER, chn_or(c->options.header_ms, 10000));
    return 0;
}

static void send_block(struct chn_conn *c) {
    struct chn_err err;
    c->bufs.n = 0;
    add_block(c);
    move_to_sending(c);
    c->block_sent = true;
    if (write_bufs(c, &err) == 0) return;
    c->block_sent = false;
    chn_conn__fail(c, &err);
}

static void end(struct chn_conn *c) {
    if (!c->header_seen) {
        fail_with(c, CHN_ERR_PROTOCOL, "the server ended it without the table's columns");
        return;
    }
    if (!is_verified(c)) c->verified[c->n_verified++ % CHN_VERIFIED_MAX] = c->statement;
    chn_conn__move(c, CHN_READY, 0);
    finish(c, CHN_OK, NULL, NULL);
}

void chn_insert__on_written(struct chn_conn *c) {
    if (c->ended) end(c);
    else chn_conn__move(c, CHN_ACK, chn_or(c->insert.ack_ms, chn_or(c->options.ack_ms, 60000)));
}

/* --- Comparing --- */

static int compare_column(struct chn_conn *c, const struct chn_column *ours, struct chn_err *err) {
    const struct chn_view *theirs = chn_block__find(&c->parser.decoder.block, ours->name);
    if (theirs == NULL)
        return chn_err__setf(err, CHN_ERR_SCHEMA,
                             "insert into %.80s: the table has no column %.80s", c->insert.table,
                             ours->name);
    struct chn_type *type = chn_type__parse(ours->type, strlen(ours->type), err);
    if (type == NULL) return err->code;
    bool equal = chn_type__equal(type, chn_view__type(theirs));
    chn_type__free(type);
    if (equal) return 0;
    for (size_t i = 0; i < c->parser.decoder.block.n_columns; i++)
        if (strcmp(c->parser.decoder.block.columns[i].name, ours->name) == 0)
            return chn_err__setf(err, CHN_ERR_SCHEMA,
                                 "insert into %.60s: column %.50s is %.60s in the table, not %.60s",
                                 c->insert.table, ours->name,
                                 c->parser.decoder.block.columns[i].type_text, ours->type);
    return CHN_ERR_SCHEMA;
}

static void on_header(struct chn_conn *c) {
    struct chn_err err;
    int code = 0;
    for (size_t i = 0; i < c->insert.n_columns && code == 0; i++)
        code = compare_column(c, &c->insert.columns[i], &err);
    if (code == 0 && c->parser.decoder.block.n_columns != c->insert.n_columns)
        code = chn_err__setf(
            &err, CHN_ERR_SCHEMA, "insert into %.80s: the server wants %zu columns, not %zu",
            c->insert.table, c->parser.decoder.block.n_columns, c->insert.n_columns);
    if (code != 0) {
        chn_conn__fail(c, &err);
        return;
    }
    c->header_seen = true;
    if (c->state == CHN_HEADER) send_block(c);
}

static void on_exception(struct chn_conn *c) {
    struct chn_err err;
    const struct chn_exception *e = &c->parser.exception;
    chn_err__setf(&err, CHN_ERR_EXCEPTION, "%s:%u: insert into %.60s: code %d: %.150s", c->host,
                  c->port, c->insert.table, e->code, e->message);
    chn_conn__drop(c);
    if (e->code == INSERT_WAS_DEDUPLICATED) finish(c, CHN_OK, NULL, e);
    else finish(c, e->code == UNKNOWN_STATUS_OF_INSERT ? CHN_UNKNOWN : CHN_REJECTED, &err, e);
}

void chn_insert__on_event(struct chn_conn *c, enum chn_event event) {
    struct chn_progress *sums = &c->insert_result.progress;
    const struct chn_progress *more = &c->parser.progress;
    switch (event) {
    case CHN_EVENT_BLOCK:
        if (c->header_seen || c->parser.decoder.block.n_rows != 0)
            fail_with(c, CHN_ERR_PROTOCOL, "unexpected block");
        else on_header(c);
        break;
    case CHN_EVENT_PROGRESS: chn_progress__add(sums, more); break;
    case CHN_EVENT_PROFILE_EVENTS:
        chn_profile_events__tell(c, &c->parser.side.block, c->insert.on_profile_event);
        break;
    case CHN_EVENT_PROFILE:
    case CHN_EVENT_OTHER: break;
    case CHN_EVENT_EXCEPTION: on_exception(c); break;
    case CHN_EVENT_END:
        if (!c->block_sent) {
            fail_with(c, CHN_ERR_PROTOCOL, "the server ended it before the block");
            break;
        }
        c->ended = true;
        if (c->link->n_writes == 0) end(c);
        break;
    default: fail_with(c, CHN_ERR_PROTOCOL, "unexpected packet");
    }
}

/* --- Starting --- */

static int pack(struct chn_conn *c) {
    c->packing.out.n = 0;
    const struct chn_slice *pieces = (const struct chn_slice *)(const void *)c->insert_pieces.data;
    return chn_frame__compress(&c->packing.out, pieces, c->insert_pieces.n / sizeof *pieces,
                               c->insert.compression, c->insert.level);
}

static void on_work(uv_work_t *work) { /* In the pool: touches @packing and what it reads alone. */
    struct chn_conn *c = work->data;
    c->packing.code = pack(c);
}

static void on_packed(uv_work_t *work, int status) {
    struct chn_conn *c = work->data;
    struct chn_err err;
    c->packing.running = false;
    if (c->state != CHN_PACKING) { /* Lost, canceled or closed meanwhile: @err says which. */
        err = c->err;
        finish(c, CHN_NOT_SENT, &err, NULL);
    } else if (status != 0 || c->packing.code != 0) {
        fail_with(c, CHN_ERR_MEMORY, "cannot compress");
    } else if (send_first(c, &err) != 0) {
        chn_conn__fail(c, &err);
    }
    chn_conn__release(c);
}

static void put_identifier(struct chn_buf *b, const char *name) {
    chn_buf__put_u8(b, '`');
    for (; *name != '\0'; name++) {
        if (*name == '`' || *name == '\\') chn_buf__put_u8(b, '\\');
        chn_buf__put_u8(b, (uint8_t)*name);
    }
    chn_buf__put_u8(b, '`');
}

/* The statement, the hash that it is known by with its types, and the query packet in @head. */
static int write_statement(struct chn_conn *c, const struct chn_insert *insert) {
    struct chn_buf sql = {0};
    chn_buf__put(&sql, "INSERT INTO ", 12);
    chn_buf__put(&sql, insert->table, strlen(insert->table));
    for (size_t i = 0; i < insert->n_columns; i++) {
        chn_buf__put(&sql, i == 0 ? " (" : ",", i == 0 ? 2 : 1);
        put_identifier(&sql, insert->columns[i].name);
    }
    chn_buf__put(&sql, ") VALUES", 9); /* With its 0. */
    size_t n = sql.n;
    for (size_t i = 0; i < insert->n_columns; i++)
        chn_buf__put_string(&sql, insert->columns[i].type);
    if (!sql.failed) {
        c->statement = chn_city__hash128(sql.data, sql.n);
        sql.n = n;
        struct chn_request request = {
            .query_id = insert->query_id,
            .sql = (const char *)sql.data,
            .settings = insert->settings,
            .n_settings = insert->n_settings,
            .compression = insert->compression,
            .is_insert = true,
            .profile_events = insert->on_profile_event != NULL,
            .chunked = c->parser.server.chunks_out,
        };
        c->head.n = 0;
        chn_request__query(&c->head, &c->client, c->parser.server.negotiated, &request);
    }
    bool failed = sql.failed || c->head.failed;
    chn_buf__fini(&sql);
    return failed ? CHN_ERR_MEMORY : 0;
}

/* Copies the list of columns and the strings in it; their bytes stay the caller's. */
static int copy_insert(struct chn_conn *c, const struct chn_insert *insert) {
    size_t list = insert->n_columns * sizeof(struct chn_column),
           bytes = list + strlen(insert->table) + 1;
    for (size_t i = 0; i < insert->n_columns; i++)
        bytes += strlen(insert->columns[i].name) + strlen(insert->columns[i].type) + 2;
    c->insert_columns.n = 0;
    if (!chn_buf__reserve(&c->insert_columns, bytes)) return CHN_ERR_MEMORY;
    struct chn_column *columns = (struct chn_column *)(void *)c->insert_columns.data;
    char *at = (char *)c->insert_columns.data + list;
    for (size_t i = 0; i < insert->n_columns; i++) {
        columns[i] = insert->columns[i];
        columns[i].name = strcpy(at, insert->columns[i].name);
        at += strlen(at) + 1;
        columns[i].type = strcpy(at, insert->columns[i].type);
        at += strlen(at) + 1;
    }
    c->insert = *insert;
    c->insert.columns = columns;
    c->insert.table = strcpy(at, insert->table);
    c->insert.query_id = NULL;
    c->insert.settings = NULL;
    return 0;
}

int chn_conn__insert(struct chn_conn *c, const struct chn_insert *insert, chn_insert_cb cb,
                     void *data) {
    struct chn_err err;
    if (c->state != CHN_READY || c->closing)
        return c->state == CHN_CLOSED ? CHN_ERR_NOT_READY : CHN_ERR_BUSY;
    if (insert->table == NULL || insert->n_columns == 0 || insert->n_columns > CHN_COLUMNS_MAX ||
        insert->n_rows == 0 || insert->level < 0 || insert->level > CHN_ZSTD_LEVEL_MAX)
        return CHN_ERR_ARGUMENT;
    int code = copy_insert(c, insert);
    if (code == 0) code = write_statement(c, insert);
    if (code != 0) return code;
    c->block_bytes = chn_request__block(&c->insert_heads, &c->insert_pieces,
                                        c->parser.server.negotiated, &c->insert);
    if (c->insert_heads.failed || c->insert_pieces.failed) return CHN_ERR_MEMORY;
    if (c->block_bytes > CHN_BLOCK_SENT_MAX) return CHN_ERR_LIMIT;
    c->insert_result = (struct chn_insert_result){0};
    c->block_sent = c->header_seen = c->ended = c->write_failed = false;
    c->err = (struct chn_err){0};
    c->cb.insert = cb;
    c->cb_data = data;
    if (insert->compression != CHN_NO_COMPRESSION) {
        bool is_slow = insert->compression == CHN_ZSTD && insert->level > CHN_PACK_LEVEL_MAX;
        if (is_slow || c->block_bytes > CHN_PACK_ON_LOOP_MAX) {
            c->packing.work.data = c;
            code = uv_queue_work(c->loop, &c->packing.work, on_work, on_packed);
            if (code != 0) return CHN_ERR_MEMORY;
            c->packing.running = true;
            c->n_open++;
            chn_conn__move(c, CHN_PACKING, chn_or(c->options.send_ms, 60000));
            return 0;
        }
        if ((code = pack(c)) != 0) return code;
    }
    return send_first(c, &err);
}

void chn_insert__fini(struct chn_conn *c) {
    struct chn_buf *bufs[] = {&c->insert_heads, &c->insert_pieces, &c->insert_columns, &c->bufs,
                              &c->packing.out};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) chn_buf__fini(bufs[i]);
}
