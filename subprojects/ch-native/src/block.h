/** Blocks inside: the columns as they were read, and the decoder that fills them piece by piece. */
#ifndef CHN_BLOCK_H
#define CHN_BLOCK_H

#include "wire.h"

#include <ch_native/block.h>
#include <ch_native/limits.h>

enum { CHN_VIEW_DEPTH = 2 * CHN_TYPE_DEPTH_MAX + 4 }; /* A Nested is two levels by one name. */

/* How a column's values are laid out, if not one after the other; see serial.h. */
enum chn_layer { CHN_LAYER_NONE, CHN_LAYER_SPARSE, CHN_LAYER_DETACHED, CHN_LAYER_REPLICATED };
enum { CHN_LAYERS_MAX = 2 };

struct chn_view {
    const struct chn_type *type; /* Borrowed from the column. */
    uint64_t n;                  /* Rows; of an array's child, elements. */
    uint64_t n_done;             /* Strings read so far. */
    struct chn_buf
        data; /* Values; strings; null map; array offsets (u64 LE); LowCardinality keys. */
    struct chn_buf ends; /* Strings: where each ends in @data, uint64_t. */
    uint32_t key_width;  /* LowCardinality: bytes of a key. */
    uint32_t n_children; /* LowCardinality has one, its dictionary. */
    struct chn_view *children;
    uint8_t layers[CHN_LAYERS_MAX]; /* enum chn_layer, the innermost first. */
    uint8_t n_layers;
    struct chn_buf marks; /* While a layer is read: u64 rows (sparse), u64 indexes (replicated). */
};

struct chn_block_column {
    char *name, *type_text;
    size_t name_bytes, type_bytes;
    struct chn_type *type;
    struct chn_view view;
};

struct chn_block {
    enum chn_block_kind kind;
    uint64_t n_rows;
    size_t n_columns,
        n_alive; /* Alive: kept from the last block, so that their memory can be used again. */
    struct chn_block_column *columns;
};

enum chn_decode_step {
    CHN_STEP_INFO,
    CHN_STEP_SIZE,
    CHN_STEP_HEAD,
    CHN_STEP_KINDS,
    CHN_STEP_BLOB,
    CHN_STEP_PREFIX, /* And the values behind it. */
};

struct chn_decode_frame {
    struct chn_view *view;
    int step;          /* How far this view is; meaning by kind. */
    unsigned n_layers; /* Still to be taken off; 0: plain values. */
    uint64_t wanted, at;
};

/** Reads one block after the other. Zeroed, with @revision and @bytes_max set, it is ready. */
struct chn_decoder {
    uint32_t revision;
    size_t bytes_max; /* Of all values of one block. */
    struct chn_block block;
    enum chn_decode_step step;
    size_t column;         /* Being read. */
    size_t n_prefixes;     /* Left of this column. */
    size_t bytes, n_nodes; /* Of this block so far. */
    size_t head_bytes;     /* Of its names and types. */
    uint64_t string_left;  /* Bytes left of a string that came in part. */
    bool in_string;
    unsigned depth;
    struct chn_decode_frame stack[CHN_VIEW_DEPTH];
    uint64_t blob_bytes;           /* Of a detached column; 0 while its size has not come. */
    struct chn_buf blob, unpacked; /* It, and what was packed in it. */
};

/** An empty view of @type, which is borrowed. @return false without memory; fini then as well. */
bool chn_view__init(struct chn_view *view, const struct chn_type *type);
void chn_view__fini(struct chn_view *view);

/** Goes on reading. @return 0 when @block is whole, CHN_MORE, or an error with @err filled. */
int chn_decoder__feed(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err);

/* For serial.c, which reads what is laid out otherwise. */
int chn_decoder__bad(struct chn_decoder *d, struct chn_err *err, int code, const char *what);
/** Counts @n bytes against the block's limit before they are kept. @return 0 or an error. */
int chn_decoder__charge(struct chn_decoder *d, struct chn_err *err, size_t n);
/** Copies what is there of @wanted bytes in all to @to. @return 0, CHN_MORE or an error. */
int chn_decoder__copy(struct chn_decoder *d, struct chn_reader *r, struct chn_buf *to,
                      uint64_t wanted, struct chn_err *err);
/** Has @view read next, with @n rows and @n_layers of its layers. */
int chn_decoder__push(struct chn_decoder *d, struct chn_view *view, unsigned n_layers, uint64_t n,
                      struct chn_err *err);
/** Prefixes, then values, of the present column. @return 0, CHN_MORE or an error. */
int chn_decoder__column(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err);

/** Forgets a block that was begun, keeping memory. */
void chn_decoder__reset(struct chn_decoder *d);
void chn_decoder__fini(struct chn_decoder *d);

#endif
