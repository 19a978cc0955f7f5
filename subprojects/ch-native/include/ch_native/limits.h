/**
 * What a server may make this library hold: nothing that it says is believed beyond these bounds,
 * and memory follows the bytes that came, never a size that was claimed. Going over one ends the
 * connection with CHN_ERR_LIMIT, or with CHN_ERR_TYPE where a type's name does not say a type.
 *
 * A block's values are bounded by chn_options.block_bytes_max as well, an insert's by bytes_max of
 * its builders. Time is bounded by the deadlines in chn_options.
 */
#ifndef CH_NATIVE_LIMITS_H
#define CH_NATIVE_LIMITS_H

enum {
    /* Any packet. */
    CHN_CARRY_MAX = 64 << 20,       /* Bytes kept of a packet or frame that has not come whole. */
    CHN_FRAME_BYTES_MAX = 32 << 20, /* Of a compressed frame; servers cut at 1 MiB. */
    CHN_HELLO_STRING_MAX = 4096,    /* Each string of a hello, a table's name, a time zone. */
    CHN_PASSWORD_RULES_MAX = 256,   /* In a hello, of two strings each. */
    CHN_SERVER_SETTINGS_MAX = 4096, /* In a hello, of two strings each. */
    CHN_STRING_MAX = 16 << 20, /* A value, a string of an exception, the text of table columns. */
    CHN_EXCEPTIONS_MAX = 32,   /* In one chain. */

    /* A block. */
    CHN_BUCKETS_MAX = 4096, /* In the list that a block may begin with. */
    CHN_COLUMNS_MAX = 4096,
    CHN_ROWS_MAX = 64 << 20,       /* Of the block; also the elements of an array's column. */
    CHN_DICTIONARY_MAX = 16 << 20, /* Words of one LowCardinality. */
    CHN_NAME_BYTES_MAX = 4096,     /* A column's name. */
    CHN_HEADS_BYTES_MAX = 8 << 20, /* All names and types of a block. */
    CHN_NODES_MAX = 65536,         /* Columns, those inside of nested ones included. */
    CHN_SIDE_BYTES_MAX = 16 << 20, /* Values of a block of logs or profile events. */

    /* A type. */
    CHN_TYPE_BYTES_MAX = 64 << 10,
    CHN_TYPE_DEPTH_MAX = 16, /* Array(Array(UInt8)) is 2 deep. */
    CHN_TYPE_PARTS_MAX = 1024,
    CHN_FIXED_STRING_MAX = 1 << 20,
};

#endif
