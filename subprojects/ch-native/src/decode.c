/*
 * The block decoder. It can be fed any number of bytes at a time: names and sizes are read when
 * they are whole, values are copied as they come. Nested types are walked with a stack of our own,
 * so that the walk can stop anywhere.
 *
 * Memory follows the bytes that came: a size that a server claims is never allocated ahead of them.
 */
#include "block.h"

#include "gates.h"
#include "serial.h"

#include <stdlib.h>

static void free_view(struct chn_view *v) {
    for (uint32_t i = 0; i < v->n_children; i++) free_view(&v->children[i]);
    free(v->children);
    chn_buf__fini(&v->data);
    chn_buf__fini(&v->ends);
    chn_buf__fini(&v->marks);
}

static void free_column(struct chn_block_column *c) {
    free_view(&c->view);
    chn_type__free(c->type);
    free(c->name);
    free(c->type_text);
    *c = (struct chn_block_column){0};
}

/* The type of a dictionary: without its Nullable, as a NULL is key 0. */
static const struct chn_type *dictionary_type(const struct chn_type *type) {
    const struct chn_type *inner = type->children[0];
    return inner->kind == CHN_NULLABLE ? inner->children[0] : inner;
}

static bool make_view(struct chn_view *v, const struct chn_type *type) {
    *v = (struct chn_view){.type = type};
    if (type->n_children == 0) return true;
    v->children = calloc(type->n_children, sizeof *v->children);
    if (v->children == NULL) return false;
    for (uint32_t i = 0; i < type->n_children; i++) {
        v->n_children = i + 1; /* So that a failure frees what is there. */
        const struct chn_type *child =
            type->kind == CHN_LOW_CARDINALITY ? dictionary_type(type) : type->children[i];
        if (!make_view(&v->children[i], child)) return false;
    }
    return true;
}

static void reset_view(struct chn_view *v) {
    v->n = v->n_done = 0;
    v->data.n = v->ends.n = v->marks.n = 0;
    v->n_layers = 0;
    for (uint32_t i = 0; i < v->n_children; i++) reset_view(&v->children[i]);
}

static size_t count_nodes(const struct chn_view *v) {
    size_t n = 1;
    for (uint32_t i = 0; i < v->n_children; i++) n += count_nodes(&v->children[i]);
    return n;
}

static bool is_json(const struct chn_view *v) { return v->type->kind == CHN_JSON; }

static size_t count_prefixes(const struct chn_view *v) {
    size_t n = v->type->kind == CHN_LOW_CARDINALITY || is_json(v);
    for (uint32_t i = 0; i < v->n_children; i++) n += count_prefixes(&v->children[i]);
    return n;
}

static int bad(struct chn_decoder *d, struct chn_err *err, int code, const char *what) {
    const char *name = d->column < d->block.n_alive ? d->block.columns[d->column].name : NULL;
    return chn_err__setf(err, code, "block of %zu columns, column %zu (%.60s): %s",
                         d->block.n_columns, d->column, name != NULL ? name : "?", what);
}

/* For the readers' codes: CHN_MORE passes, errors get their line. */
static int judge(struct chn_decoder *d, struct chn_err *err, int code, const char *what) {
    return code < 0 ? bad(d, err, code, what) : code;
}

/* Counts bytes against the block's limit before they are kept. */
static int charge(struct chn_decoder *d, struct chn_err *err, size_t n) {
    d->bytes += n;
    return d->bytes > d->bytes_max ? bad(d, err, CHN_ERR_LIMIT, "the block is too large") : 0;
}

/* Copies what is there of @wanted bytes in all to @to. */
static int copy_some(struct chn_decoder *d, struct chn_reader *r, struct chn_buf *to,
                     uint64_t wanted, struct chn_err *err) {
    if (wanted > d->bytes_max) return bad(d, err, CHN_ERR_LIMIT, "the block is too large");
    size_t left = (size_t)wanted - to->n, n = chn_reader__left(r);
    if (n > left) n = left;
    int code = charge(d, err, n);
    if (code != 0) return code;
    chn_buf__put(to, r->at, n);
    if (to->failed) return bad(d, err, CHN_ERR_MEMORY, "no memory");
    r->at += n;
    return n == left ? 0 : CHN_MORE;
}

static int read_strings(struct chn_decoder *d, struct chn_reader *r, struct chn_view *v,
                        struct chn_err *err) {
    while (v->n_done < v->n) {
        if (!d->in_string) {
            uint64_t n;
            int code = chn_reader__varuint(r, &n);
            if (code != 0) return judge(d, err, code, "bad string length");
            if (n > CHN_STRING_MAX) return bad(d, err, CHN_ERR_LIMIT, "a string is too long");
            d->string_left = n;
            d->in_string = true;
        }
        size_t n = chn_reader__left(r);
        if (n > d->string_left) n = (size_t)d->string_left;
        int code = charge(d, err, n);
        if (code != 0) return code;
        chn_buf__put(&v->data, r->at, n);
        r->at += n;
        d->string_left -= n;
        if (d->string_left > 0)
            return v->data.failed ? bad(d, err, CHN_ERR_MEMORY, "no memory") : CHN_MORE;
        d->in_string = false;
        uint64_t end = v->data.n;
        if ((code = charge(d, err, sizeof end)) != 0) return code;
        chn_buf__put(&v->ends, &end, sizeof end);
        if (v->data.failed || v->ends.failed) return bad(d, err, CHN_ERR_MEMORY, "no memory");
        v->n_done++;
    }
    return 0;
}

static int push(struct chn_decoder *d, struct chn_view *v, uint64_t n, struct chn_err *err) {
    if (d->depth == CHN_VIEW_DEPTH) return bad(d, err, CHN_ERR_LIMIT, "nested too deep");
    v->n = n;
    d->stack[d->depth++] = (struct chn_decode_frame){.view = v, .n_layers = v->n_layers};
    return 0;
}

/* @offsets are cumulative ends. @return 0 with the number of elements in @total. */
static int check_offsets(struct chn_decoder *d, const struct chn_view *v, uint64_t *total,
                         struct chn_err *err) {
    uint64_t last = 0;
    for (uint64_t i = 0; i < v->n; i++) {
        uint64_t end = chn_load_u64(v->data.data + i * 8);
        if (end < last) return bad(d, err, CHN_ERR_PROTOCOL, "array offsets go backwards");
        last = end;
    }
    if (last > CHN_ROWS_MAX) return bad(d, err, CHN_ERR_LIMIT, "too many array elements");
    *total = last;
    return 0;
}

static uint64_t load_key(const struct chn_view *v, uint64_t row) {
    const uint8_t *p = v->data.data + row * v->key_width;
    switch (v->key_width) {
    case 1: return p[0];
    case 2: return (uint64_t)p[0] | (uint64_t)p[1] << 8;
    case 4: return chn_load_u32(p);
    default: return chn_load_u64(p);
    }
}

/* LowCardinality: 0 meta, dictionary size; 1 (dictionary was read) number of keys; 2 keys. */
static int read_low_cardinality(struct chn_decoder *d, struct chn_reader *r,
                                struct chn_decode_frame *f, struct chn_err *err) {
    struct chn_view *v = f->view;
    uint64_t n;
    if (v->n == 0) return 0;
    if (f->step == 0) {
        if (chn_reader__left(r) < 16) return CHN_MORE;
        uint64_t meta;
        chn_reader__le(r, 8, &meta);
        chn_reader__le(r, 8, &n);
        if ((meta & 0xff) > 3 || (meta & 0x100) != 0 || (meta & 0x200) == 0)
            return bad(d, err, CHN_ERR_PROTOCOL, "LowCardinality of an unknown form");
        if (n > CHN_DICTIONARY_MAX) return bad(d, err, CHN_ERR_LIMIT, "a dictionary is too large");
        v->key_width = 1u << (meta & 0xff);
        f->step = 1;
        int code = push(d, &v->children[0], n, err);
        return code != 0 ? code : CHN_MORE + 1;
    }
    if (f->step == 1) {
        int code = chn_reader__le(r, 8, &n);
        if (code != 0) return code;
        if (n != v->n)
            return bad(d, err, CHN_ERR_PROTOCOL,
                       "LowCardinality has another number of keys than of rows");
        f->step = 2;
    }
    int code = copy_some(d, r, &v->data, v->n * v->key_width, err);
    if (code != 0) return code;
    for (uint64_t i = 0; i < v->n; i++)
        if (load_key(v, i) >= v->children[0].n)
            return bad(d, err, CHN_ERR_PROTOCOL, "a key outside of the dictionary");
    return 0;
}

/* @return 0 when the view on top of the stack is done, CHN_MORE, CHN_MORE + 1 when it has pushed
 * another, or an error. */
static int read_top(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err) {
    struct chn_decode_frame *f = &d->stack[d->depth - 1];
    struct chn_view *v = f->view;
    int code;
    if (f->n_layers > 0) return chn_serial__read(d, r, f, err);
    switch (v->type->kind) {
    case CHN_STRING:
    case CHN_JSON: return read_strings(d, r, v, err);
    case CHN_NULLABLE:
        if (f->step == 0 && (code = copy_some(d, r, &v->data, v->n, err)) != 0) return code;
        if (f->step++ > 0) return 0;
        code = push(d, &v->children[0], v->n, err);
        return code != 0 ? code : CHN_MORE + 1;
    case CHN_ARRAY:
    case CHN_MAP:
        if (f->step == 0) {
            if ((code = copy_some(d, r, &v->data, v->n * 8, err)) != 0) return code;
            if ((code = check_offsets(d, v, &f->wanted, err)) != 0) return code;
        }
        if (f->step >= (int)v->n_children) return 0;
        code = push(d, &v->children[f->step++], f->wanted, err);
        return code != 0 ? code : CHN_MORE + 1;
    case CHN_TUPLE:
        if (v->n_children == 0) return copy_some(d, r, &v->data, v->n, err);
        if (f->step >= (int)v->n_children) return 0;
        code = push(d, &v->children[f->step++], v->n, err);
        return code != 0 ? code : CHN_MORE + 1;
    case CHN_LOW_CARDINALITY: return read_low_cardinality(d, r, f, err);
    default: return copy_some(d, r, &v->data, v->n * v->type->width, err);
    }
}

static int read_data(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err) {
    while (d->depth > 0) {
        int code = read_top(d, r, err);
        if (code < 0 || code == CHN_MORE) return code;
        if (code == 0) d->depth--;
    }
    return 0;
}

/* A list of i32 of no use here. */
static int skip_buckets(struct chn_reader *r) {
    uint64_t n;
    int code = chn_reader__varuint(r, &n);
    if (code != 0) return code;
    if (n > CHN_BUCKETS_MAX) return CHN_ERR_LIMIT;
    if (chn_reader__left(r) < n * 4) return CHN_MORE;
    r->at += n * 4;
    return 0;
}

/* BlockInfo: numbered fields until a 0. 1: u8 is_overflows, 2: i32 bucket number, 3: list of i32
 * buckets that are out of order. */
static int read_info(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err) {
    struct chn_reader ahead = *r;
    for (;;) {
        uint64_t field, ignored;
        int code = chn_reader__varuint(&ahead, &field);
        if (code != 0) return judge(d, err, code, "bad block info");
        if (field == 0) break;
        if (field == 3 && chn_gate(d->revision, CHN_GATE_BUCKETS)) {
            if ((code = skip_buckets(&ahead)) != 0)
                return judge(d, err, code, "bad list of buckets in the block info");
            continue;
        }
        if (field > 2) return bad(d, err, CHN_ERR_PROTOCOL, "unknown field in the block info");
        if ((code = chn_reader__le(&ahead, field == 1 ? 1 : 4, &ignored)) != 0) return code;
        if (ahead.at - r->at > 64 && !chn_gate(d->revision, CHN_GATE_BUCKETS))
            return bad(d, err, CHN_ERR_PROTOCOL, "the block info does not end");
    }
    r->at = ahead.at;
    return 0;
}

static size_t count_kept(const struct chn_view *v) {
    size_t n =
        sizeof *v + sizeof *v->type + v->data.capacity + v->ends.capacity + v->marks.capacity;
    for (uint32_t i = 0; i < v->n_children; i++) n += count_kept(&v->children[i]);
    return n;
}

/* Memory is kept from block to block, as most are like the last one. Blocks of which each fills
 * other columns must not make it grow beyond what one of them may take. */
static void forget_if_large(struct chn_decoder *d) {
    size_t n = 0;
    for (size_t i = 0; i < d->block.n_alive; i++)
        if (d->block.columns[i].type != NULL) n += count_kept(&d->block.columns[i].view);
    if (n <= d->bytes_max) return;
    for (size_t i = 0; i < d->block.n_alive; i++) free_column(&d->block.columns[i]);
}

static int read_size(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err) {
    struct chn_reader ahead = *r;
    uint64_t n_columns, n_rows;
    int code = chn_reader__varuint(&ahead, &n_columns);
    if (code == 0) code = chn_reader__varuint(&ahead, &n_rows);
    if (code != 0) return judge(d, err, code, "bad block size");
    if (n_columns > CHN_COLUMNS_MAX) return bad(d, err, CHN_ERR_LIMIT, "too many columns");
    if (n_rows > CHN_ROWS_MAX) return bad(d, err, CHN_ERR_LIMIT, "too many rows");
    r->at = ahead.at;
    forget_if_large(d);
    d->block.n_columns = (size_t)n_columns;
    d->block.n_rows = n_rows;
    return 0;
}

static char *copy_text(struct chn_slice s) {
    char *text = malloc(s.n + 1);
    if (text == NULL) return NULL;
    memcpy(text, s.data, s.n);
    text[s.n] = '\0';
    return text;
}

/* Makes place for column @i, keeping what the last block had there if name and type are the same.
 */
static int place_column(struct chn_decoder *d, struct chn_slice name, struct chn_slice type,
                        struct chn_err *err) {
    struct chn_block *b = &d->block;
    if (d->column == b->n_alive) {
        struct chn_block_column *columns = realloc(b->columns, (b->n_alive + 1) * sizeof *columns);
        if (columns == NULL) return bad(d, err, CHN_ERR_MEMORY, "no memory");
        b->columns = columns;
        columns[b->n_alive++] = (struct chn_block_column){0};
    }
    struct chn_block_column *c = &b->columns[d->column];
    bool same = c->type != NULL && c->name_bytes == name.n && c->type_bytes == type.n &&
                memcmp(c->name, name.data, name.n) == 0 &&
                memcmp(c->type_text, type.data, type.n) == 0;
    if (same) {
        reset_view(&c->view);
    } else {
        free_column(c);
        c->name = copy_text(name);
        c->type_text = copy_text(type);
        if (c->name == NULL || c->type_text == NULL)
            return bad(d, err, CHN_ERR_MEMORY, "no memory");
        c->name_bytes = name.n;
        c->type_bytes = type.n;
        c->type = chn_type__parse(c->type_text, type.n, err);
        if (c->type == NULL) /* It says why; without @err nobody asks. */
            return err != NULL && err->code == CHN_ERR_MEMORY ? CHN_ERR_MEMORY : CHN_ERR_TYPE;
        if (!make_view(&c->view, c->type)) return bad(d, err, CHN_ERR_MEMORY, "no memory");
    }
    d->n_nodes += count_nodes(&c->view);
    if (d->n_nodes > CHN_NODES_MAX) return bad(d, err, CHN_ERR_LIMIT, "types of too many parts");
    return 0;
}

static int read_head(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err) {
    struct chn_reader ahead = *r;
    struct chn_slice name, type;
    uint8_t custom = 0;
    int code = chn_reader__string(&ahead, CHN_NAME_BYTES_MAX, &name);
    if (code == 0) code = chn_reader__string(&ahead, CHN_TYPE_BYTES_MAX, &type);
    if (code == 0 && chn_gate(d->revision, CHN_GATE_CUSTOM_SERIALIZATION))
        code = chn_reader__u8(&ahead, &custom);
    if (code != 0) return judge(d, err, code, "bad name or type");
    if (memchr(name.data, 0, name.n) != NULL || memchr(type.data, 0, type.n) != NULL)
        return bad(d, err, CHN_ERR_PROTOCOL, "a 0 in a name or a type");
    if ((d->head_bytes += name.n + type.n) > CHN_HEADS_BYTES_MAX)
        return bad(d, err, CHN_ERR_LIMIT, "too many bytes of names and types");
    if ((code = place_column(d, name, type, err)) != 0) return code;
    if (custom > 1 || (custom == 1 && !chn_gate(d->revision, CHN_GATE_SPARSE)))
        return bad(d, err, CHN_ERR_PROTOCOL,
                   "custom serialization, which a server of this revision may not send");
    d->step = custom == 1 ? CHN_STEP_KINDS : CHN_STEP_PREFIX;
    r->at = ahead.at;
    return 0;
}

static bool has_json(const struct chn_view *v) {
    bool found = is_json(v);
    for (uint32_t i = 0; i < v->n_children && !found; i++) found = has_json(&v->children[i]);
    return found;
}

static int refuse_version(struct chn_decoder *d, struct chn_err *err) {
    if (has_json(&d->block.columns[d->column].view))
        return bad(d, err, CHN_ERR_TYPE,
                   "JSON that is not text: set output_format_native_write_json_as_string");
    return bad(d, err, CHN_ERR_PROTOCOL, "LowCardinality of an unknown version");
}

/* A version for each LowCardinality and each JSON in the column, before any of its data. */
static int read_prefixes(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err) {
    for (; d->n_prefixes > 0; d->n_prefixes--) {
        uint64_t version;
        int code = chn_reader__le(r, 8, &version);
        if (code != 0) return code;
        if (version != 1) return refuse_version(d, err);
    }
    return 0;
}

/* The column's head is read: its values are next, if there are any. */
static int begin_values(struct chn_decoder *d, struct chn_err *err) {
    struct chn_view *v = &d->block.columns[d->column].view;
    if (d->block.n_rows == 0) {
        v->n_layers = 0;
        d->column++;
        d->step = CHN_STEP_HEAD;
        return 0;
    }
    d->n_prefixes = count_prefixes(v);
    d->step = chn_serial__is_detached(v) ? CHN_STEP_BLOB : CHN_STEP_PREFIX;
    return d->step == CHN_STEP_BLOB ? 0 : push(d, v, d->block.n_rows, err);
}

int chn_decoder__column(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err) {
    int code = read_prefixes(d, r, err);
    return code != 0 ? code : read_data(d, r, err);
}

int chn_decoder__feed(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err) {
    int code = 0;
    for (;;) {
        switch (d->step) {
        case CHN_STEP_INFO:
            if ((code = read_info(d, r, err)) != 0) return code;
            d->step = CHN_STEP_SIZE;
            break;
        case CHN_STEP_SIZE:
            if ((code = read_size(d, r, err)) != 0) return code;
            d->step = CHN_STEP_HEAD;
            break;
        case CHN_STEP_HEAD:
            if (d->column == d->block.n_columns) {
                chn_decoder__reset(d);
                return 0;
            }
            if ((code = read_head(d, r, err)) != 0) return code;
            if (d->step == CHN_STEP_PREFIX && (code = begin_values(d, err)) != 0) return code;
            break;
        case CHN_STEP_KINDS:
            if ((code = chn_serial__read_kinds(d, r, err)) != 0) return code;
            if ((code = begin_values(d, err)) != 0) return code;
            break;
        case CHN_STEP_BLOB:
        case CHN_STEP_PREFIX:
            code = d->step == CHN_STEP_BLOB ? chn_serial__read_blob(d, r, err)
                                            : chn_decoder__column(d, r, err);
            if (code != 0) return code;
            d->column++;
            d->step = CHN_STEP_HEAD;
            break;
        }
    }
}

bool chn_view__init(struct chn_view *view, const struct chn_type *type) {
    return make_view(view, type);
}

void chn_view__fini(struct chn_view *view) { free_view(view); }

int chn_decoder__bad(struct chn_decoder *d, struct chn_err *err, int code, const char *what) {
    return bad(d, err, code, what);
}

int chn_decoder__charge(struct chn_decoder *d, struct chn_err *err, size_t n) {
    return charge(d, err, n);
}

int chn_decoder__copy(struct chn_decoder *d, struct chn_reader *r, struct chn_buf *to,
                      uint64_t wanted, struct chn_err *err) {
    return copy_some(d, r, to, wanted, err);
}

int chn_decoder__push(struct chn_decoder *d, struct chn_view *view, unsigned n_layers, uint64_t n,
                      struct chn_err *err) {
    int code = push(d, view, n, err);
    if (code == 0) d->stack[d->depth - 1].n_layers = n_layers;
    return code;
}

void chn_decoder__reset(struct chn_decoder *d) {
    d->step = CHN_STEP_INFO;
    d->column = d->n_prefixes = d->bytes = d->n_nodes = d->head_bytes = 0;
    d->depth = 0;
    d->in_string = false;
    d->blob_bytes = 0;
    d->blob.n = d->unpacked.n = 0;
}

void chn_decoder__fini(struct chn_decoder *d) {
    for (size_t i = 0; i < d->block.n_alive; i++) free_column(&d->block.columns[i]);
    free(d->block.columns);
    chn_buf__fini(&d->blob);
    chn_buf__fini(&d->unpacked);
    *d = (struct chn_decoder){.revision = d->revision, .bytes_max = d->bytes_max};
}
