/*
 * Client packets, as in ClickHouse's docs/en/interfaces/specs/NativeProtocol.md with one
 * correction: an INSERT too needs the empty data packet after its query before the server answers.
 */
#include "request.h"

#include "frame.h"
#include "gates.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    PACKET_HELLO = 0,
    PACKET_QUERY = 1,
    PACKET_CANCEL = 3,
    PACKET_PING = 4,
    QUERY_INITIAL = 1,
    INTERFACE_TCP = 1,
    STAGE_COMPLETE = 2,
    PARAMETER_CUSTOM = 2,
    REPLICAS_VERSION = 7, /* Of parallel replicas, which a client never speaks of. */
};

const uint8_t chn_data_head[2] = {2, 0};
const uint8_t chn_empty_packet[12] = {2, 0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0};

void chn_request__hello(struct chn_buf *b, const struct chn_client *client) {
    chn_buf__put_varuint(b, PACKET_HELLO);
    chn_buf__put_string(b, client->name);
    chn_buf__put_varuint(b, CHN_VERSION_MAJOR);
    chn_buf__put_varuint(b, CHN_VERSION_MINOR);
    chn_buf__put_varuint(b, client->advertised);
    chn_buf__put_string(b, client->database);
    chn_buf__put_string(b, client->user);
    chn_buf__put_string(b, client->password);
}

static const char *chunk_text(bool chunked) { return chunked ? "chunked" : "notchunked"; }

void chn_request__addendum(struct chn_buf *b, const struct chn_client *client,
                           const struct chn_server *server) {
    uint32_t revision = server->negotiated;
    if (chn_gate(revision, CHN_GATE_ADDENDUM)) chn_buf__put_string(b, client->quota_key);
    if (chn_gate(revision, CHN_GATE_CHUNKS)) {
        chn_buf__put_string(b, chunk_text(server->chunks_out));
        chn_buf__put_string(b, chunk_text(server->chunks_in));
    }
    if (chn_gate(revision, CHN_GATE_REPLICAS_VERSION)) chn_buf__put_varuint(b, REPLICAS_VERSION);
}

/* A chunked packet is its size as u32, its bytes, and the size 0. @return where the size is. */
static size_t begin_packet(struct chn_buf *b, bool chunked) {
    size_t at = b->n;
    if (chunked) chn_buf__put_le(b, 0, 4);
    return at;
}

static void end_packet(struct chn_buf *b, size_t at, bool chunked) {
    if (!chunked || b->failed) return;
    if (b->n - at - 4 > UINT32_MAX) { /* No statement is that long. */
        b->failed = true;
        return;
    }
    chn_store_le(b->data + at, b->n - at - 4, 4);
    chn_buf__put_le(b, 0, 4);
}

static void put_small(struct chn_buf *b, uint64_t type, bool chunked) {
    size_t at = begin_packet(b, chunked);
    chn_buf__put_varuint(b, type);
    end_packet(b, at, chunked);
}

void chn_request__ping(struct chn_buf *b, bool chunked) { put_small(b, PACKET_PING, chunked); }
void chn_request__cancel(struct chn_buf *b, bool chunked) { put_small(b, PACKET_CANCEL, chunked); }

static void put_client_info(struct chn_buf *b, const struct chn_client *client, uint32_t revision) {
    chn_buf__put_u8(b, QUERY_INITIAL);
    chn_buf__put_string(b, "");          /* Initial user. */
    chn_buf__put_string(b, "");          /* Initial query id. */
    chn_buf__put_string(b, "0.0.0.0:0"); /* Initial address: must have this form. */
    if (chn_gate(revision, CHN_GATE_START_TIME)) chn_buf__put_le(b, 0, 8);
    chn_buf__put_u8(b, INTERFACE_TCP);
    chn_buf__put_string(b, ""); /* User of the operating system: nobody's business. */
    chn_buf__put_string(b, client->hostname);
    chn_buf__put_string(b, client->name);
    chn_buf__put_varuint(b, CHN_VERSION_MAJOR);
    chn_buf__put_varuint(b, CHN_VERSION_MINOR);
    chn_buf__put_varuint(b, client->advertised); /* Our own, not the negotiated one. */
    if (chn_gate(revision, CHN_GATE_QUOTA_KEY)) chn_buf__put_string(b, client->quota_key);
    if (chn_gate(revision, CHN_GATE_DISTRIBUTED_DEPTH)) chn_buf__put_varuint(b, 0);
    if (chn_gate(revision, CHN_GATE_VERSION_PATCH)) chn_buf__put_varuint(b, 0);
    if (chn_gate(revision, CHN_GATE_OPEN_TELEMETRY)) chn_buf__put_u8(b, 0);
    if (chn_gate(revision, CHN_GATE_PARALLEL_REPLICAS))
        for (int i = 0; i < 3; i++) chn_buf__put_varuint(b, 0);
    if (chn_gate(revision, CHN_GATE_SCRIPT_LINES))
        for (int i = 0; i < 2; i++) chn_buf__put_varuint(b, 0);
    if (chn_gate(revision, CHN_GATE_JWT)) chn_buf__put_u8(b, 0);
    if (chn_gate(revision, CHN_GATE_CLIENT_AGENT)) chn_buf__put_string(b, "");
    if (chn_gate(revision, CHN_GATE_IS_INTERNAL)) chn_buf__put_u8(b, 0);
    if (chn_gate(revision, CHN_GATE_CURRENT_ROLES)) chn_buf__put_u8(b, 0);
}

static void put_setting(struct chn_buf *b, const char *name, unsigned flags, const char *value) {
    chn_buf__put_string(b, name);
    chn_buf__put_varuint(b, flags);
    chn_buf__put_string(b, value);
}

static bool is_named(const struct chn_request *request, const char *name) {
    for (size_t i = 0; i < request->n_settings; i++)
        if (strcmp(request->settings[i].name, name) == 0) return true;
    return false;
}

/* Below 54429 settings are binary and typed, and an unknown one is an error: none are sent. */
static void put_settings(struct chn_buf *b, uint32_t revision, const struct chn_request *request) {
    static const char *const off[] = {"send_profile_events", "async_insert",
                                      "input_format_defaults_for_omitted_fields"};
    if (chn_gate(revision, CHN_GATE_STRING_SETTINGS)) {
        for (size_t i = 0; i < request->n_settings; i++)
            put_setting(b, request->settings[i].name, request->settings[i].flags,
                        request->settings[i].value);
        size_t n_off = request->is_insert ? sizeof off / sizeof off[0] : 1;
        for (size_t i = 0; i < n_off; i++)
            if (!is_named(request, off[i]))
                put_setting(b, off[i], 0, i == 0 && request->profile_events ? "1" : "0");
        static const char as_text[] = "output_format_native_write_json_as_string";
        if (request->json_as_text && !is_named(request, as_text)) put_setting(b, as_text, 0, "1");
        static const char method[] = "network_compression_method",
                          deadline[] = "max_execution_time";
        if (!request->is_insert && request->compression != CHN_NO_COMPRESSION &&
            !is_named(request, method))
            put_setting(b, method, 0, request->compression == CHN_ZSTD ? "ZSTD" : "LZ4");
        if (request->deadline_s > 0 && !is_named(request, deadline)) {
            char text[16];
            snprintf(text, sizeof text, "%" PRIu32, request->deadline_s);
            put_setting(b, deadline, 0, text);
        }
    }
    chn_buf__put_string(b, "");
}

/*
 * A parameter's value is text in the escaped form of TSV, inside a quoted literal: two levels of
 * escapes, of which the server undoes the quotes first. Arrays, maps and tuples are not escaped as
 * TSV, only quoted. NULL is TSV's.
 */
static void put_literal(struct chn_buf *b, const struct chn_parameter *parameter) {
    struct chn_buf literal = {0};
    const char *value = parameter->value != NULL ? parameter->value : "\\N";
    bool escapes = parameter->value != NULL && !parameter->is_nested;
    size_t n = parameter->n != 0 && parameter->value != NULL ? parameter->n : strlen(value);
    chn_buf__put_u8(&literal, '\'');
    for (const char *c = value; c < value + n; c++) {
        switch (*c) {
        case '\\': chn_buf__put(&literal, "\\\\\\\\", escapes ? 4 : 2); break;
        case '\t': chn_buf__put(&literal, escapes ? "\\\\t" : "\\t", escapes ? 3 : 2); break;
        case '\n': chn_buf__put(&literal, escapes ? "\\\\n" : "\\n", escapes ? 3 : 2); break;
        case '\'': chn_buf__put(&literal, "\\'", 2); break;
        default: chn_buf__put_u8(&literal, (uint8_t)*c);
        }
    }
    chn_buf__put_u8(&literal, '\'');
    chn_buf__put_bytes(b, literal.data, literal.n);
    b->failed = b->failed || literal.failed;
    chn_buf__fini(&literal);
}

void chn_request__query(struct chn_buf *b, const struct chn_client *client, uint32_t revision,
                        const struct chn_request *request) {
    bool compressed = request->compression != CHN_NO_COMPRESSION;
    size_t at = begin_packet(b, request->chunked);
    chn_buf__put_varuint(b, PACKET_QUERY);
    chn_buf__put_string(b, request->query_id);
    put_client_info(b, client, revision);
    put_settings(b, revision, request);
    if (chn_gate(revision, CHN_GATE_EXTERNAL_ROLES)) chn_buf__put_bytes(b, "", 1); /* No roles. */
    if (chn_gate(revision, CHN_GATE_INTERSERVER_SECRET)) chn_buf__put_string(b, "");
    chn_buf__put_varuint(b, STAGE_COMPLETE);
    chn_buf__put_varuint(b, compressed);
    chn_buf__put_string(b, request->sql);
    if (chn_gate(revision, CHN_GATE_PARAMETERS)) {
        for (size_t i = 0; i < request->n_parameters; i++) {
            chn_buf__put_string(b, request->parameters[i].name);
            chn_buf__put_varuint(b, PARAMETER_CUSTOM);
            put_literal(b, &request->parameters[i]);
        }
        chn_buf__put_string(b, "");
    }
    end_packet(b, at, request->chunked);
    at = begin_packet(b, request->chunked);
    if (compressed) {
        chn_buf__put(b, chn_data_head, sizeof chn_data_head);
        chn_buf__put(b, chn_frame_empty_block, sizeof chn_frame_empty_block);
    } else {
        chn_buf__put(b, chn_empty_packet, sizeof chn_empty_packet);
    }
    end_packet(b, at, request->chunked);
}

static void add_piece(struct chn_buf *pieces, const void *data, size_t n) {
    if (n > 0) chn_buf__put(pieces, &(struct chn_slice){data, n}, sizeof(struct chn_slice));
}

uint64_t chn_request__block(struct chn_buf *heads, struct chn_buf *pieces, uint32_t revision,
                            const struct chn_insert *insert) {
    heads->n = pieces->n = 0;
    heads->failed = pieces->failed = false;
    /* Twice: the first pass settles where @heads lies, the second points into it. */
    for (int pass = 0; pass < 2; pass++) {
        heads->n = 0;
        chn_buf__put(heads, chn_empty_packet + 2, 8); /* The block info. */
        chn_buf__put_varuint(heads, insert->n_columns);
        chn_buf__put_varuint(heads, insert->n_rows);
        size_t start = 0;
        for (size_t i = 0; i < insert->n_columns; i++) {
            chn_buf__put_string(heads, insert->columns[i].name);
            chn_buf__put_string(heads, insert->columns[i].type);
            if (chn_gate(revision, CHN_GATE_CUSTOM_SERIALIZATION)) chn_buf__put_u8(heads, 0);
            if (pass == 0 || heads->failed) continue;
            add_piece(pieces, heads->data + start, heads->n - start);
            start = heads->n;
            for (size_t k = 0; k < insert->columns[i].n_parts; k++)
                add_piece(pieces, insert->columns[i].parts[k].data, insert->columns[i].parts[k].n);
        }
    }
    uint64_t bytes = heads->n;
    for (size_t i = 0; i < insert->n_columns; i++)
        for (size_t k = 0; k < insert->columns[i].n_parts; k++)
            bytes += insert->columns[i].parts[k].n;
    return bytes;
}
