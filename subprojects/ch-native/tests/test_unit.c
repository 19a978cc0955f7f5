/* Without a server: golden bytes, hostile bytes, and streams that come in pieces or end early. */
#include "city.h"
#include "frame.h"
#include "gates.h"
#include "hex.h"
#include "packet.h"
#include "request.h"

#include <ch_native/ch_native.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- Hashes, numbers, frames --- */

static void test_cityhash_gives_the_known_values(void **state) {
    (void)state;
    static const struct {
        size_t n;
        const char *hex;
    } vectors[] = {
        {0, "2b9ac064fc9df03d291ee592c340b53c"},    {1, "555db5cc909437391f57cd6430b1f22a"},
        {3, "8669a11d6bfa08312d6150c2f01b3032"},    {8, "2f4353599a7cadb68c88219910020e9f"},
        {15, "472f8fabd899825a77320da978a4a08e"},   {16, "792b9c7fab9ce7217a3f3135c21556a3"},
        {17, "4c6eeafa13bbd50cfebbf6789171bf32"},   {31, "fc7fc25e32704f6ee015b5f0e9a7239a"},
        {32, "e9c7ee0484abcf67ee61bdf5273ccd80"},   {64, "ef2a43c18ed512d41432d8bb0c635457"},
        {127, "429982623c2a1c1feade014b6020585d"},  {128, "314d69d6100bd011f4df3fb8e5b98f10"},
        {129, "d8eae95964c4352d54ca0fbd05f8a659"},  {255, "cae4bb08cfd87a21ff322f8d03b45b1a"},
        {1000, "7323377b8c534b982087686bc5cbe6f6"},
    };
    uint8_t data[1000], wire[16];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(7 * i + 3);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct chn_u128 hash = chn_city__hash128(data, vectors[i].n);
        chn_store_le(wire, hash.low, 8);
        chn_store_le(wire + 8, hash.high, 8);
        assert_hex(wire, 16, vectors[i].hex);
    }
}

static void test_varuints_keep_their_value(void **state) {
    (void)state;
    static const uint64_t values[] = {0,     1,     127,        128,       300,
                                      16383, 16384, UINT32_MAX, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct chn_buf b = {0};
        uint64_t value = 1;
        chn_buf__put_varuint(&b, values[i]);
        for (size_t cut = 0; cut < b.n; cut++) {
            struct chn_reader part = {b.data, b.data + cut};
            assert_int_equal(chn_reader__varuint(&part, &value), CHN_MORE);
        }
        struct chn_reader r = {b.data, b.data + b.n};
        assert_int_equal(chn_reader__varuint(&r, &value), 0);
        assert_true(value == values[i] && r.at == r.end);
        chn_buf__fini(&b);
    }
    uint8_t endless[11];
    uint64_t value;
    memset(endless, 0xff, sizeof endless);
    struct chn_reader r = {endless, endless + sizeof endless};
    assert_int_equal(chn_reader__varuint(&r, &value), CHN_ERR_PROTOCOL);
}

static void test_frames_are_those_of_the_server(void **state) {
    (void)state;
    struct chn_buf out = {0}, plain = {0};
    struct chn_err err;
    struct chn_slice empty = {chn_empty_packet + 2, 10};
    assert_int_equal(chn_frame__compress(&out, &empty, 1, CHN_LZ4, 0), 0);
    assert_hex(out.data, out.n,
               "a783ac6cd55c7a7cb5ac46bddb86e214 82 14000000 0a000000 a0010002ffffffff000000");
    assert_memory_equal(out.data, chn_frame_empty_block, sizeof chn_frame_empty_block);
    uint8_t stored[64];
    size_t n = from_hex(
        "bb9489a1c169e900ecaff168956a6474 02 13000000 0a000000 010002ffffffff000000", stored, 64);
    struct chn_reader r = {stored, stored + n};
    assert_int_equal(chn_frame__read(&r, &plain, &err), 0);
    assert_hex(plain.data, plain.n, "010002ffffffff000000");
    for (size_t i = 0; i < n; i++) { /* One bit anywhere is noticed. */
        stored[i] ^= 1;
        r = (struct chn_reader){stored, stored + n};
        assert_true(chn_frame__read(&r, &plain, &err) != 0);
        stored[i] ^= 1;
    }
    chn_buf__fini(&out);
    chn_buf__fini(&plain);
}

static void test_large_data_is_cut_into_frames_of_a_mebibyte(void **state) {
    (void)state;
    size_t n = (5u << 20) / 2;
    uint8_t *data = malloc(n);
    for (size_t i = 0; i < n; i++) data[i] = (uint8_t)(i * i >> 8);
    struct chn_slice slices[] = {{data, 100}, {data + 100, n - 100}};
    static const struct {
        enum chn_compression method;
        int level;
        uint8_t byte;
    } cases[] = {{CHN_LZ4, 0, 0x82}, {CHN_ZSTD, 0, 0x90}, {CHN_ZSTD, 9, 0x90}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct chn_buf out = {0}, plain = {0};
        struct chn_err err;
        assert_int_equal(chn_frame__compress(&out, slices, 2, cases[k].method, cases[k].level), 0);
        assert_int_equal(out.data[16], cases[k].byte);
        struct chn_reader r = {out.data, out.data + out.n};
        int n_frames = 0;
        for (; r.at < r.end; n_frames++) assert_int_equal(chn_frame__read(&r, &plain, &err), 0);
        assert_int_equal(n_frames, 3);
        assert_int_equal(plain.n, n);
        assert_memory_equal(plain.data, data, n);
        chn_buf__fini(&out);
        chn_buf__fini(&plain);
    }
    free(data);
}

/* A frame around @payload that claims to be @n_plain bytes, with a checksum that is right. */
static void put_frame(struct chn_buf *b, uint8_t method, const void *payload, size_t n,
                      uint32_t n_plain) {
    size_t at = b->n;
    static const uint8_t room[16];
    chn_buf__put(b, room, sizeof room);
    chn_buf__put_u8(b, method);
    chn_buf__put_le(b, n + 9, 4);
    chn_buf__put_le(b, n_plain, 4);
    chn_buf__put(b, payload, n);
    struct chn_u128 hash = chn_city__hash128(b->data + at + 16, n + 9);
    chn_store_le(b->data + at, hash.low, 8);
    chn_store_le(b->data + at + 8, hash.high, 8);
}

static void test_a_zstd_frame_of_another_size_is_refused(void **state) {
    (void)state;
    struct chn_buf out = {0}, plain = {0}, lie = {0};
    struct chn_err err;
    struct chn_slice text = {"ten bytes!", 10};
    assert_int_equal(chn_frame__compress(&out, &text, 1, CHN_ZSTD, 0), 0);
    for (uint32_t claimed = 0; claimed < 20; claimed++) {
        lie.n = plain.n = 0;
        put_frame(&lie, 0x90, out.data + 25, out.n - 25, claimed);
        struct chn_reader r = {lie.data, lie.data + lie.n};
        assert_int_equal(chn_frame__read(&r, &plain, &err),
                         claimed == 10 ? 0 : CHN_ERR_PROTOCOL);
    }
    lie.n = 0;
    put_frame(&lie, 0x90, "not zstd at all", 15, 10);
    struct chn_reader r = {lie.data, lie.data + lie.n};
    assert_int_equal(chn_frame__read(&r, &plain, &err), CHN_ERR_PROTOCOL);
    assert_non_null(strstr(err.msg, "not ZSTD"));
    chn_buf__fini(&out);
    chn_buf__fini(&plain);
    chn_buf__fini(&lie);
}

static void test_frames_that_claim_too_much_are_refused(void **state) {
    (void)state;
    struct chn_buf plain = {0};
    struct chn_err err;
    uint8_t header[25] = {0};
    header[16] = 0x82;
    chn_store_le(header + 17, UINT32_MAX, 4);
    chn_store_le(header + 21, 10, 4);
    struct chn_reader r = {header, header + sizeof header};
    assert_int_equal(chn_frame__read(&r, &plain, &err), CHN_ERR_LIMIT);
    chn_store_le(header + 17, 20, 4);
    chn_store_le(header + 21, UINT32_MAX, 4);
    assert_int_equal(chn_frame__read(&r, &plain, &err), CHN_ERR_LIMIT);
    header[16] = 0x91;
    assert_int_equal(chn_frame__read(&r, &plain, &err), CHN_ERR_PROTOCOL);
    chn_buf__fini(&plain);
}

/* --- Packets of ours --- */

static const struct chn_client probe = {.name = "probe",
                                        .quota_key = "",
                                        .database = "default",
                                        .user = "default",
                                        .password = "",
                                        .hostname = "host",
                                        .advertised = 54459};

static void test_hello_and_query_have_the_known_bytes(void **state) {
    (void)state;
    struct chn_buf b = {0};
    chn_request__hello(&b, &probe);
    assert_hex(b.data, b.n, "00 0570726f6265 00 02 bba903 0764656661756c74 0764656661756c74 00");
    b.n = 0;
    const struct chn_setting setting = {"async_insert", "0", 1},
                             quiet = {"send_profile_events", "0", 0};
    const struct chn_setting settings[] = {setting, quiet};
    chn_request__query(
        &b, &probe, 54459,
        &(struct chn_request){
            .query_id = "q1", .sql = "SELECT 1", .settings = settings, .n_settings = 2});
    assert_hex(b.data, b.n,
               "01 02 7131 01 00 00 09 302e302e302e303a30 0000000000000000 01 00 04 686f7374 05 "
               "70726f6265 00 02"
               "bba903 00 00 00 00 00 00 00"
               "0c 6173796e635f696e73657274 01 01 30"
               "13 73656e645f70726f66696c655f6576656e7473 00 01 30 00"
               "00 02 00 08 53454c4543542031 00"
               "02 00 01 00 02 ffffffff 00 00 00");
    b.n = 0;
    chn_request__query(
        &b, &probe, 54412,
        &(struct chn_request){.sql = "SELECT 1", .settings = settings, .n_settings = 2});
    assert_hex(
        b.data, b.n,
        "01 00 01 00 00 09 302e302e302e303a30 01 00 04 686f7374 05 70726f6265 00 02 bba903 00 00"
        "00 02 00 08 53454c4543542031 02 00 01 00 02 ffffffff 00 00 00");
    chn_buf__fini(&b);
}

/* --- Packets of the server --- */

static void put_server_hello(struct chn_buf *b) {
    chn_buf__put_varuint(b, 0);
    chn_buf__put_string(b, "ClickHouse");
    chn_buf__put_varuint(b, 26);
    chn_buf__put_varuint(b, 7);
    chn_buf__put_varuint(b, 54488);
    chn_buf__put_string(b, "UTC");
    chn_buf__put_string(b, "test");
    chn_buf__put_varuint(b, 2);
}

static void put_exception(struct chn_buf *b) {
    chn_buf__put_u8(b, 2);
    for (int i = 0; i < 2; i++) {
        chn_buf__put_le(b, i == 0 ? 60 : 61, 4);
        chn_buf__put_string(b, "DB::Exception");
        chn_buf__put_string(b, i == 0 ? "no such table" : "because");
        chn_buf__put_string(b, "stack");
        chn_buf__put_u8(b, i == 0);
    }
}

/* A data packet with @columns, in frames when @compressed. */
static void put_data(struct chn_buf *b, const struct chn_insert *insert, bool compressed) {
    struct chn_buf heads = {0}, pieces = {0};
    chn_request__block(&heads, &pieces, 54460, insert);
    const struct chn_slice *slices = (const struct chn_slice *)(const void *)pieces.data;
    size_t n = pieces.n / sizeof *slices;
    chn_buf__put_varuint(b, 1);
    chn_buf__put_string(b, "");
    if (compressed) assert_int_equal(chn_frame__compress(b, slices, n, CHN_LZ4, 0), 0);
    else
        for (size_t i = 0; i < n; i++) chn_buf__put(b, slices[i].data, slices[i].n);
    chn_buf__fini(&heads);
    chn_buf__fini(&pieces);
}

enum { N_KINDS = 5 };
static const char *const kinds[N_KINDS] = {
    "UInt32", "LowCardinality(Nullable(String))", "Array(Array(String))",
    "Map(String, LowCardinality(String))", "Nullable(DateTime64(3))"};

static void put_rows(struct chn_buf *b, bool compressed) {
    struct chn_builder *builders[N_KINDS];
    struct chn_column columns[N_KINDS];
    for (int i = 0; i < N_KINDS; i++)
        builders[i] = chn_builder__new(kinds[i], kinds[i], 1 << 16, NULL);
    for (unsigned row = 0; row < 3; row++) {
        chn_builder__u64(builders[0], row);
        if (row == 1) chn_builder__null(builders[1]);
        else chn_builder__string(builders[1], "chaos", row == 0 ? 5 : 0);
        for (unsigned i = 0; i < row; i++) {
            struct chn_builder *inner = chn_builder__child(builders[2], 0);
            chn_builder__string(chn_builder__child(inner, 0), "x'y", 3);
            chn_builder__end(inner);
            chn_builder__string(chn_builder__child(builders[3], 0), i == 0 ? "k" : "l", 1);
            chn_builder__string(chn_builder__child(builders[3], 1), "v", 1);
        }
        chn_builder__end(builders[2]);
        chn_builder__end(builders[3]);
        if (row == 2) chn_builder__null(builders[4]);
        else chn_builder__i64(builders[4], 1700000000123 - (int64_t)row * 1700000000124);
    }
    for (int i = 0; i < N_KINDS; i++)
        assert_int_equal(chn_builder__column(builders[i], &columns[i]), 0);
    put_data(b, &(struct chn_insert){.columns = columns, .n_columns = N_KINDS, .n_rows = 3},
             compressed);
    for (int i = 0; i < N_KINDS; i++) chn_builder__free(builders[i]);
}

static const char rows_text[] = "0\tchaos\t[]\t{}\t2023-11-14 22:13:20.123\n"
                                "1\tNULL\t[['x\\'y']]\t{'k':'v'}\t1969-12-31 23:59:59.999\n"
                                "2\t\t[['x\\'y'],['x\\'y']]\t{'k':'v','l':'v'}\tNULL\n";

/* Takes the events that are there, writing down what they are. @return what the parser said last.
 */
static int take_events(struct chn_parser *p, char *log, size_t capacity, struct chn_err *err) {
    enum chn_event event;
    int code;
    while ((code = chn_parser__next(p, &event, err)) == 0) {
        size_t n = strlen(log);
        const struct chn_block *block = &p->decoder.block;
        switch (event) {
        case CHN_EVENT_BLOCK:
            for (uint64_t row = 0; row < block->n_rows; row++)
                for (size_t i = 0; i < block->n_columns; i++) {
                    chn_view__text(chn_block__column(block, i), row, log + n, capacity - n - 2);
                    strcat(log, i + 1 < block->n_columns ? "\t" : "\n");
                    n = strlen(log);
                }
            break;
        case CHN_EVENT_EXCEPTION:
            snprintf(log + n, capacity - n, "E%d %s %s %s %d %s;", p->exception.code,
                     p->exception.name, p->exception.message, p->exception.stack,
                     p->exception.nested_code, p->exception.nested_message);
            break;
        case CHN_EVENT_PROGRESS:
            snprintf(log + n, capacity - n, "P%d;", (int)p->progress.read_rows);
            break;
        case CHN_EVENT_HELLO:
            snprintf(log + n, capacity - n, "H%u %s;", p->server.revision, p->server.timezone);
            break;
        default: snprintf(log + n, capacity - n, "%d;", event);
        }
    }
    return code;
}

/* Hello, rows, progress, profile, pong, rows again, exception, end of stream. */
static void put_stream(struct chn_buf *b, bool compressed) {
    put_rows(b, compressed);
    static const uint8_t progress[] = {3, 7, 1, 2, 0, 0, 9}, profile[] = {6, 3, 1, 99, 0, 0, 0},
                         pong = 4, end = 5;
    chn_buf__put(b, progress, sizeof progress);
    chn_buf__put(b, profile, sizeof profile);
    chn_buf__put(b, &pong, 1);
    put_rows(b, compressed);
    put_exception(b);
    chn_buf__put(b, &end, 1);
}

static void test_a_stream_means_the_same_in_any_pieces(void **state) {
    (void)state;
    for (int compressed = 0; compressed < 2; compressed++) {
        struct chn_buf hello = {0}, stream = {0};
        put_server_hello(&hello);
        put_stream(&stream, compressed);
        char expected[4096], log[4096];
        snprintf(expected, sizeof expected,
                 "H54488 UTC;%sP7;6;4;%sE60 DB::Exception no such table stack 61 because;5;",
                 rows_text, rows_text);
        for (size_t piece = 1; piece < stream.n; piece += piece < 20 ? 1 : 37) {
            struct chn_parser p;
            struct chn_err err;
            chn_parser__init(&p, 54460, 1 << 20);
            log[0] = '\0';
            assert_int_equal(chn_parser__feed(&p, hello.data, hello.n, &err), 0);
            assert_int_equal(take_events(&p, log, sizeof log, &err), CHN_MORE);
            p.compressed = compressed;
            for (size_t at = 0; at < stream.n; at += piece) {
                size_t n = stream.n - at < piece ? stream.n - at : piece;
                uint8_t *copy = malloc(n); /* On the heap, so that a read too far is seen. */
                memcpy(copy, stream.data + at, n);
                assert_int_equal(chn_parser__feed(&p, copy, n, &err), 0);
                int code = take_events(&p, log, sizeof log, &err);
                if (code != CHN_MORE) fail_msg("%s", err.msg);
                free(copy);
            }
            assert_string_equal(log, expected);
            assert_int_equal(p.carry.n, 0);
            chn_parser__fini(&p);
        }
        chn_buf__fini(&hello);
        chn_buf__fini(&stream);
    }
}

static void test_a_stream_cut_anywhere_waits_for_more(void **state) {
    (void)state;
    struct chn_buf hello = {0}, stream = {0};
    put_server_hello(&hello);
    put_stream(&stream, false);
    for (size_t cut = 0; cut < stream.n; cut++) {
        struct chn_parser p;
        struct chn_err err;
        char log[4096] = "";
        chn_parser__init(&p, 54460, 1 << 20);
        assert_int_equal(chn_parser__feed(&p, hello.data, hello.n, &err), 0);
        assert_int_equal(take_events(&p, log, sizeof log, &err), CHN_MORE);
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, stream.data, cut);
        assert_int_equal(chn_parser__feed(&p, copy, cut, &err), 0);
        assert_int_equal(take_events(&p, log, sizeof log, &err), CHN_MORE);
        assert_null(strstr(log, "5;")); /* Never an end that was not said. */
        free(copy);
        chn_parser__fini(&p);
    }
    chn_buf__fini(&hello);
    chn_buf__fini(&stream);
}

/* Feeds a parser that has seen the hello. @return what it says of @stream. */
static int judge(const void *stream, size_t n, size_t bytes_max, struct chn_err *err) {
    struct chn_buf hello = {0};
    struct chn_parser p;
    char log[4096] = "";
    put_server_hello(&hello);
    chn_parser__init(&p, 54460, bytes_max);
    assert_int_equal(chn_parser__feed(&p, hello.data, hello.n, err), 0);
    assert_int_equal(take_events(&p, log, sizeof log, err), CHN_MORE);
    assert_int_equal(chn_parser__feed(&p, stream, n, err), 0);
    int code = take_events(&p, log, sizeof log, err);
    chn_parser__fini(&p);
    chn_buf__fini(&hello);
    return code;
}

static int judge_block(const char *type, uint64_t n_columns, uint64_t n_rows, const char *hex,
                       struct chn_err *err) {
    struct chn_buf b = {0};
    uint8_t data[256];
    chn_buf__put(&b, chn_empty_packet, 10);
    b.data[0] = 1;
    chn_buf__put_varuint(&b, n_columns);
    chn_buf__put_varuint(&b, n_rows);
    chn_buf__put_string(&b, "c");
    chn_buf__put_string(&b, type);
    chn_buf__put_u8(&b, 0);
    chn_buf__put(&b, data, from_hex(hex, data, sizeof data));
    int code = judge(b.data, b.n, 1 << 20, err);
    chn_buf__fini(&b);
    return code;
}

static void test_hostile_blocks_are_refused(void **state) {
    (void)state;
    struct chn_err err = {0};
    assert_int_equal(judge_block("UInt8", 5000, 1, "", &err), CHN_ERR_LIMIT);
    assert_int_equal(judge_block("UInt8", 1, UINT64_MAX, "", &err), CHN_ERR_LIMIT);
    assert_int_equal(judge_block("UInt64", 1, 1 << 20, "", &err),
                     CHN_ERR_LIMIT); /* 8 MiB of a budget of 1. */
    assert_int_equal(judge_block("String", 1, 1, "ffffffffffffffff7f", &err), CHN_ERR_LIMIT);
    assert_int_equal(judge_block("String", 1, 1, "ffffffffffffffffffff", &err), CHN_ERR_PROTOCOL);
    assert_int_equal(judge_block("Array(UInt8)", 1, 2, "0500000000000000 0300000000000000", &err),
                     CHN_ERR_PROTOCOL);
    assert_int_equal(judge_block("Array(UInt8)", 1, 1, "ffffffffffffffff", &err), CHN_ERR_LIMIT);
    assert_int_equal(judge_block("LowCardinality(String)", 1, 1, "0200000000000000", &err),
                     CHN_ERR_PROTOCOL);
    static const char key_outside[] =
        "0100000000000000 0006000000000000 0100000000000000 00 0100000000000000 01";
    assert_int_equal(judge_block("LowCardinality(String)", 1, 1, key_outside, &err),
                     CHN_ERR_PROTOCOL);
    assert_int_equal(judge_block("Variant(UInt8, String)", 1, 1, "", &err), CHN_ERR_TYPE);
    assert_non_null(strstr(err.msg, "Variant"));
    assert_int_equal(judge_block("JSON", 1, 1, "0000000000000000", &err), CHN_ERR_TYPE);
    assert_non_null(strstr(err.msg, "output_format_native_write_json_as_string"));
    assert_int_equal(judge_block("UInt8", 1, 1, "", &err), CHN_MORE);
    static const uint8_t unknown = 99, http[] = "HTTP/1.1 400 Bad Request";
    assert_int_equal(judge(&unknown, 1, 1 << 20, &err), CHN_ERR_PROTOCOL);
    struct chn_parser p;
    enum chn_event event;
    chn_parser__init(&p, 54460, 1 << 20);
    assert_int_equal(chn_parser__feed(&p, http, sizeof http, &err), 0);
    assert_int_equal(chn_parser__next(&p, &event, &err), CHN_ERR_PROTOCOL);
    assert_non_null(strstr(err.msg, "HTTP"));
    chn_parser__fini(&p);
}

static void test_accessors_check_rows_and_types(void **state) {
    (void)state;
    struct chn_parser p;
    struct chn_buf b = {0};
    struct chn_err err;
    enum chn_event event;
    put_server_hello(&b);
    put_rows(&b, false);
    chn_parser__init(&p, 54460, 1 << 20);
    assert_int_equal(chn_parser__feed(&p, b.data, b.n, &err), 0);
    assert_int_equal(chn_parser__next(&p, &event, &err), 0);
    assert_int_equal(chn_parser__next(&p, &event, &err), 0);
    const struct chn_block *block = &p.decoder.block;
    const struct chn_view *number = chn_block__column(block, 0),
                          *word = chn_block__column(block, 1), *values;
    uint64_t u, first, n;
    int64_t i;
    double f;
    struct chn_slice s;
    assert_true(chn_view__u64(number, 2, &u) && u == 2);
    assert_true(chn_view__i64(number, 2, &i) && i == 2);
    assert_false(chn_view__u64(number, 3, &u));
    assert_false(chn_view__f64(number, 0, &f));
    assert_false(chn_view__string(number, 0, &s));
    assert_true(chn_view__string(word, 0, &s) && s.n == 5 && memcmp(s.data, "chaos", 5) == 0);
    assert_true(chn_view__is_null(word, 1));
    assert_false(chn_view__string(word, 1, &s));
    assert_true(chn_view__string(word, 2, &s) && s.n == 0);
    assert_true(chn_view__array(chn_block__column(block, 2), 2, &values, &first, &n) &&
                first == 1 && n == 2);
    assert_false(chn_view__array(number, 0, &values, &first, &n));
    assert_null(chn_block__column(block, 99));
    assert_false(chn_view__u64(NULL, 0, &u));
    assert_null(chn_block__find(block, "no such column"));
    assert_ptr_equal(chn_block__find(block, "UInt32"), number);
    chn_parser__fini(&p);
    chn_buf__fini(&b);
}

static void test_pauses_grow_and_are_bounded(void **state) {
    (void)state;
    struct chn_backoff b = {.base_ms = 100, .cap_ms = 1000, .seed = 42};
    uint32_t largest = 0;
    for (unsigned i = 0; i < 200; i++) {
        uint32_t ms = chn_backoff__next_ms(&b), bound = i < 4 ? 100u << i : 1000u;
        assert_true(ms <= bound);
        if (ms > largest) largest = ms;
    }
    assert_true(largest > 800); /* Drawn from all of it. */
    chn_backoff__reset(&b);
    assert_true(chn_backoff__next_ms(&b) <= 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cityhash_gives_the_known_values),
        cmocka_unit_test(test_varuints_keep_their_value),
        cmocka_unit_test(test_frames_are_those_of_the_server),
        cmocka_unit_test(test_large_data_is_cut_into_frames_of_a_mebibyte),
        cmocka_unit_test(test_a_zstd_frame_of_another_size_is_refused),
        cmocka_unit_test(test_frames_that_claim_too_much_are_refused),
        cmocka_unit_test(test_hello_and_query_have_the_known_bytes),
        cmocka_unit_test(test_a_stream_means_the_same_in_any_pieces),
        cmocka_unit_test(test_a_stream_cut_anywhere_waits_for_more),
        cmocka_unit_test(test_hostile_blocks_are_refused),
        cmocka_unit_test(test_accessors_check_rows_and_types),
        cmocka_unit_test(test_pauses_grow_and_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
