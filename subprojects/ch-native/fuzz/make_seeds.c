/* Writes a few well-formed inputs for each fuzzer: `make_seeds DIR` fills DIR/packets, DIR/block
 * and DIR/type. */
#include "frame.h"
#include "gates.h"
#include "request.h"

#include <stdio.h>
#include <sys/stat.h>

static const char *const types[] = {
    "UInt8",
    "Int256",
    "Float32",
    "String",
    "FixedString(3)",
    "DateTime64(3, 'UTC')",
    "Decimal(38, 6)",
    "Enum8('a' = 0, 'b' = 1)",
    "UUID",
    "Nullable(String)",
    "Array(Array(UInt16))",
    "Tuple(a UInt8, b String)",
    "Map(String, LowCardinality(String))",
    "LowCardinality(Nullable(String))",
    "Array(LowCardinality(String))",
    "LowCardinality(FixedString(2))",
    "LowCardinality(Nullable(Date))",
    "Map(LowCardinality(String), Array(Tuple(UInt128, Nullable(Decimal(76, 20)))))",
    "Array(Tuple(Date32, Array(IPv6)))",
    "Nested(a Time, b Time64(3))",
    "JSON(max_dynamic_paths = 8, a.b UInt32, SKIP REGEXP 'c)')",
    "Array(JSON)",
    "Tuple(BFloat16, Bool, IPv4, Tuple())",
    "SimpleAggregateFunction(max, Int128)",
};

static void write_seed(const char *dir, const char *kind, size_t i, int first,
                       const struct chn_buf *b) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, kind);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%s/%02zu", dir, kind, i);
    FILE *f = fopen(path, "wb");
    if (f == NULL) return;
    if (first >= 0) fputc(first, f);
    fwrite(b->data, 1, b->n, f);
    fclose(f);
}

/* Three rows of a type: two of what it starts from, and a nested one with an element. */
static struct chn_builder *make_column(const char *type, struct chn_column *column) {
    struct chn_builder *b = chn_builder__new("c", type, 1 << 16, NULL);
    for (int i = 0; i < 2; i++) chn_builder__default(b);
    for (uint32_t i = 0; chn_builder__child(b, i) != NULL; i++)
        chn_builder__default(chn_builder__child(b, i));
    if (chn_builder__end(b) != 0) chn_builder__default(b);
    chn_builder__column(b, column);
    return b;
}

static void put_hello(struct chn_buf *b, uint32_t revision) {
    chn_buf__put_varuint(b, 0);
    chn_buf__put_string(b, "ClickHouse");
    chn_buf__put_varuint(b, 26);
    chn_buf__put_varuint(b, 7);
    chn_buf__put_varuint(b, revision);
    if (chn_gate(revision, CHN_GATE_REPLICAS_VERSION)) chn_buf__put_varuint(b, 8);
    chn_buf__put_string(b, "UTC");
    chn_buf__put_string(b, "seed");
    chn_buf__put_varuint(b, 2);
    if (!chn_gate(revision, CHN_GATE_CURRENT_ROLES)) return;
    chn_buf__put_string(b, "chunked_optional");
    chn_buf__put_string(b, "notchunked");
    chn_buf__put_varuint(b, 1);
    chn_buf__put_string(b, "pattern");
    chn_buf__put_string(b, "message");
    chn_buf__put_le(b, 1, 8);
    chn_buf__put_string(b, "name");
    chn_buf__put_varuint(b, 1);
    chn_buf__put_string(b, "value");
    chn_buf__put_string(b, "");
    chn_buf__put_varuint(b, 5);
    chn_buf__put_varuint(b, 1);
}

/* Two rows of a column that is sparse, replicated or detached, at 54488. */
static void write_layouts(const char *dir) {
    static const struct {
        const char *type;
        uint8_t n, bytes[12]; /* From the kind on. */
    } layouts[] = {
        {"UInt16", 12, {1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 7}},
        {"String", 10, {4, 2, 1, 0, 0, 1, 1, 'a', 0, 0}},
        {"Nullable(UInt8)", 9, {4, 2, 2, 0, 0, 0, 0, 1, 0}},
        {"UInt8", 5, {2, 3, 1, 2, 3}},
        {"Tuple(UInt8, UInt8)", 8, {5, 3, 0, 1, 2, 1, 0, 4}},
    };
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        struct chn_buf b = {0};
        chn_buf__put(&b, chn_empty_packet + 2, 8);
        chn_buf__put_varuint(&b, 1);
        chn_buf__put_varuint(&b, 2);
        chn_buf__put_string(&b, "c");
        chn_buf__put_string(&b, layouts[i].type);
        chn_buf__put_u8(&b, 1);
        chn_buf__put(&b, layouts[i].bytes, layouts[i].n);
        write_seed(dir, "block", 50 + i, 3, &b);
        chn_buf__fini(&b);
    }
}

/* One row, as a server sends it. */
static void put_profile_events(struct chn_buf *b) {
    static const char *const columns[] = {
        "host_name", "String", "current_time", "DateTime",
        "thread_id", "UInt64", "type",         "Enum8('increment' = 1, 'gauge' = 2)",
        "name",      "String", "value",        "Int64"};
    static const uint8_t values[] =
        "\x01h\0\0\0e\0\0\0\0\0\0\0\0\x02\x01n\xff\xff\xff\xff\xff\xff\xff\xff";
    static const size_t bytes[] = {2, 4, 8, 1, 2, 8};
    chn_buf__put_u8(b, 14);
    chn_buf__put(b, chn_empty_packet + 1, 9);
    chn_buf__put_varuint(b, 6);
    chn_buf__put_varuint(b, 1);
    for (size_t i = 0, at = 0; i < 6; at += bytes[i++]) {
        chn_buf__put_string(b, columns[2 * i]);
        chn_buf__put_string(b, columns[2 * i + 1]);
        chn_buf__put_u8(b, 0);
        chn_buf__put(b, values + at, bytes[i]);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 64;
    mkdir(argv[1], 0755);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct chn_column column;
        struct chn_builder *builder = make_column(types[i], &column);
        struct chn_buf heads = {0}, pieces = {0}, block = {0}, stream = {0}, name = {0};
        chn_request__block(&heads, &pieces, 54460,
                           &(struct chn_insert){.columns = &column, .n_columns = 1, .n_rows = 3});
        const struct chn_slice *slices = (const struct chn_slice *)(const void *)pieces.data;
        for (size_t k = 0; k < pieces.n / sizeof *slices; k++)
            chn_buf__put(&block, slices[k].data, slices[k].n);
        write_seed(argv[1], "block", i, 1, &block);
        chn_buf__put_string(&name, "");
        put_hello(&stream, i % 3 == 2 ? 54488 : 54460);
        chn_buf__put_u8(&stream, 1);
        chn_buf__put(&stream, name.data, name.n);
        if (i % 2 == 1)
            chn_frame__compress(&stream, &(struct chn_slice){block.data, block.n}, 1,
                                i % 4 == 1 ? CHN_LZ4 : CHN_ZSTD, 0);
        else chn_buf__put(&stream, block.data, block.n);
        static const uint8_t tail[] = {3, 7, 1, 2, 0, 0, 9, 6, 3, 1, 99, 0, 0, 0, 5};
        put_profile_events(&stream);
        chn_buf__put(&stream, tail, sizeof tail);
        write_seed(argv[1], "packets", i, (int)(i % 2), &stream);
        name.n = 0;
        static const char texts[] = "\0"
                                    "12\0-1.5\0"
                                    "2024-02-29\0"
                                    "2024-02-29 01:02:03.5\0::1\0NULL";
        chn_buf__put(&name, types[i], strlen(types[i]));
        chn_buf__put(&name, texts, sizeof texts);
        write_seed(argv[1], "type", i, -1, &name);
        struct chn_buf *bufs[] = {&heads, &pieces, &block, &stream, &name};
        for (size_t k = 0; k < sizeof bufs / sizeof bufs[0]; k++) chn_buf__fini(bufs[k]);
        chn_builder__free(builder);
    }
    write_layouts(argv[1]);
    static const uint8_t chunks[] = {1, 0, 0, 0, 4, 0, 0, 0, 0, 2, 0, 0, 0, 3, 7, 7, 0, 0, 0, 1, 2,
                                     0, 0, 9, 9, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0};
    struct chn_buf stream = {0};
    chn_buf__put(&stream, chunks, sizeof chunks);
    write_seed(argv[1], "packets", 90, 2, &stream);
    chn_buf__fini(&stream);
    return 0;
}
