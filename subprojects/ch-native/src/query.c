/* Queries: send, hand over blocks as they come, end with the server's end of stream or exception.
 */
#include "conn.h"
#include "gates.h"
#include "profile.h"

int chn_conn__query(struct chn_conn *c, const struct chn_query *query, chn_query_cb cb,
                    void *data) {
    struct chn_err err;
    uint32_t revision = c->parser.server.negotiated;
    uint32_t timeout_ms = chn_or(query->timeout_ms, chn_or(c->options.query_ms, 60000));
    if (c->state != CHN_READY || c->closing)
        return c->state == CHN_CLOSED ? CHN_ERR_NOT_READY : CHN_ERR_BUSY;
    if (query->sql == NULL || (query->n_parameters > 0 && revision < 54459))
        return CHN_ERR_ARGUMENT;
    struct chn_request request = {
        .query_id = query->query_id,
        .sql = query->sql,
        .settings = query->settings,
        .n_settings = query->n_settings,
        .parameters = query->parameters,
        .n_parameters = query->n_parameters,
        .compression = query->compression,
        .chunked = c->parser.server.chunks_out,
        .deadline_s = query->no_server_deadline ? 0 : (timeout_ms - 1) / 1000 + 1,
        .profile_events = query->on_profile_event != NULL,
        .json_as_text = chn_gate(c->parser.server.revision, CHN_GATE_JSON_AS_TEXT),
    };
    c->head.n = 0;
    chn_request__query(&c->head, &c->client, revision, &request);
    if (c->head.failed) return CHN_ERR_MEMORY;
    uv_buf_t buf = uv_buf_init((char *)c->head.data, (unsigned)c->head.n);
    int code = chn_conn__write(c, &buf, 1, &err);
    if (code != 0) return code;
    c->query = *query;
    c->query_result = (struct chn_query_result){0};
    c->cb.query = cb;
    c->cb_data = data;
    c->ended = c->write_failed = false;
    c->err = (struct chn_err){0};
    c->parser.compressed = request.compression != CHN_NO_COMPRESSION;
    chn_conn__move(c, CHN_QUERY, timeout_ms);
    chn_conn__limit_silence(c, query->silence_ms);
    return 0;
}

static void finish(struct chn_conn *c, const struct chn_err *err,
                   const struct chn_exception *exception) {
    struct chn_query_result result = c->query_result;
    result.err = err;
    result.exception = exception;
    c->cb.query(c, c->cb_data, &result);
}

/* The server has said its last word, and so have we. */
static void end(struct chn_conn *c) {
    struct chn_err err = c->err;
    const struct chn_exception *exception =
        err.code == CHN_ERR_EXCEPTION ? &c->parser.exception : NULL;
    c->parser.compressed = false;
    chn_conn__move(c, CHN_READY, 0);
    finish(c, err.code != 0 ? &err : NULL, exception);
}

static void on_block(struct chn_conn *c) {
    const struct chn_block *block = &c->parser.decoder.block;
    if (block->n_columns == 0 || c->state == CHN_CANCELING) return;
    if (block->kind == CHN_BLOCK_DATA) c->query_result.n_rows += block->n_rows;
    if (c->query.on_block == NULL) return;
    struct chn_link *link = c->link;
    int code = c->query.on_block(c, c->cb_data, block);
    if (code != 0 && c->link == link && c->state == CHN_QUERY) chn_conn__cancel(c);
}

void chn_query__on_event(struct chn_conn *c, enum chn_event event) {
    struct chn_progress *sums = &c->query_result.progress;
    const struct chn_progress *more = &c->parser.progress;
    struct chn_err err;
    switch (event) {
    case CHN_EVENT_BLOCK: on_block(c); break;
    case CHN_EVENT_PROGRESS:
        chn_progress__add(sums, more);
        if (c->query.on_progress != NULL && c->state == CHN_QUERY)
            c->query.on_progress(c, c->cb_data, sums);
        break;
    case CHN_EVENT_PROFILE_EVENTS:
        if (c->state == CHN_QUERY)
            chn_profile_events__tell(c, &c->parser.side.block, c->query.on_profile_event);
        break;
    case CHN_EVENT_PROFILE: c->query_result.profile = c->parser.profile; break;
    case CHN_EVENT_OTHER: break;
    case CHN_EVENT_EXCEPTION:
        if (c->state == CHN_QUERY) /* One that follows a cancel is its echo. */
            chn_err__setf(&c->err, CHN_ERR_EXCEPTION, "%s:%u: code %d: %.180s", c->host, c->port,
                          c->parser.exception.code, c->parser.exception.message);
        __attribute__((fallthrough));
    case CHN_EVENT_END:
        c->ended = true;
        if (c->link->n_writes == 0) end(c);
        break;
    default:
        chn_err__setf(&err, CHN_ERR_PROTOCOL, "%s:%u: unexpected packet of type %d during a query",
                      c->host, c->port, c->parser.packet);
        chn_conn__fail(c, &err);
    }
}

void chn_query__on_written(struct chn_conn *c) {
    if (c->ended) end(c);
}

void chn_query__fail(struct chn_conn *c, const struct chn_err *err) {
    /* A query that was told to stop was canceled, whatever the connection did then. */
    struct chn_err copy = c->err.code == CHN_ERR_CANCELED ? c->err : *err;
    c->parser.compressed = false;
    finish(c, &copy, NULL);
}
