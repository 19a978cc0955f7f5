/*
 * Type names are a small language: a word, then perhaps arguments in parentheses. A recursive
 * descent with a limit on depth and on the number of parts, as the text comes from the server.
 */
#include <ch_native/limits.h>
#include <ch_native/type.h>

#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 63 };

struct parser {
    const char *at, *end;
    struct chn_err *err;
    unsigned depth, n_parts;
    const char *text;
    size_t text_bytes;
};

/* Plain types: a word and a width. */
static const struct plain {
    const char *word;
    enum chn_kind kind;
    uint32_t width;
} plain_types[] = {
    {"BFloat16", CHN_FLOAT, 2},  {"Bool", CHN_BOOL, 1},     {"Date", CHN_DATE, 2},
    {"Date32", CHN_DATE32, 4},   {"Float32", CHN_FLOAT, 4}, {"Float64", CHN_FLOAT, 8},
    {"IPv4", CHN_IPV4, 4},       {"IPv6", CHN_IPV6, 16},    {"Int128", CHN_INT, 16},
    {"Int16", CHN_INT, 2},       {"Int256", CHN_INT, 32},   {"Int32", CHN_INT, 4},
    {"Int64", CHN_INT, 8},       {"Int8", CHN_INT, 1},      {"JSON", CHN_JSON, 0},
    {"Nothing", CHN_NOTHING, 1}, {"String", CHN_STRING, 0}, {"Time", CHN_TIME, 4},
    {"UInt128", CHN_UINT, 16},   {"UInt16", CHN_UINT, 2},   {"UInt256", CHN_UINT, 32},
    {"UInt32", CHN_UINT, 4},     {"UInt64", CHN_UINT, 8},   {"UInt8", CHN_UINT, 1},
    {"UUID", CHN_UUID, 16},
};

static struct chn_type *parse_type(struct parser *p);

static void *refuse(struct parser *p, struct chn_type *type, const char *why) {
    chn_type__free(type);
    int n = p->text_bytes > 120 ? 120 : (int)p->text_bytes;
    chn_err__setf(p->err, CHN_ERR_TYPE, "column type %.*s: %s", n, p->text, why);
    return NULL;
}

static void *lack_memory(struct parser *p, struct chn_type *type) {
    chn_type__free(type);
    chn_err__setf(p->err, CHN_ERR_MEMORY, "no memory for a column type");
    return NULL;
}

static void skip_spaces(struct parser *p) {
    while (p->at < p->end && *p->at == ' ') p->at++;
}

static bool take(struct parser *p, char c) {
    skip_spaces(p);
    if (p->at == p->end || *p->at != c) return false;
    p->at++;
    return true;
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t take_word(struct parser *p, char word[static WORD_MAX + 1]) {
    skip_spaces(p);
    size_t n = 0;
    while (p->at < p->end && is_word(*p->at) && n < WORD_MAX) word[n++] = *p->at++;
    word[n] = '\0';
    return n;
}

static bool take_number(struct parser *p, long low, long high, long *value) {
    skip_spaces(p);
    bool negative = p->at < p->end && *p->at == '-';
    if (negative) p->at++;
    long v = 0;
    const char *first = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9' && v <= 100000000)
        v = v * 10 + (*p->at++ - '0');
    if (p->at == first) return false;
    *value = negative ? -v : v;
    return *value >= low && *value <= high;
}

/* A quoted name, unescaped to @to, which is as long as what is left of the text. @return its bytes,
 * or -1. */
static long take_quoted(struct parser *p, char *to) {
    if (!take(p, '\'')) return -1;
    long n = 0;
    while (p->at < p->end && *p->at != '\'') {
        char c = *p->at++;
        if (c == '\\') {
            if (p->at == p->end) return -1;
            c = *p->at++;
            static const char from[] = "nrtbf0", into[] = "\n\r\t\b\f\0";
            const char *known = strchr(from, c);
            if (known != NULL && c != '\0') c = into[known - from];
        }
        if (to != NULL) to[n] = c;
        n++;
    }
    return take(p, '\'') ? n : -1;
}

static struct chn_type *new_type(struct parser *p, enum chn_kind kind, uint32_t width) {
    if (++p->n_parts > CHN_TYPE_PARTS_MAX) return refuse(p, NULL, "it has too many parts");
    struct chn_type *type = calloc(1, sizeof *type);
    if (type == NULL) return lack_memory(p, NULL);
    type->kind = kind;
    type->width = width;
    return type;
}

static bool add_child(struct chn_type *type, struct chn_type *child) {
    struct chn_type **children = realloc(type->children, (type->n_children + 1) * sizeof *children);
    if (children == NULL) {
        chn_type__free(child);
        return false;
    }
    type->children = children;
    children[type->n_children++] = child;
    return true;
}

/* The @n children of a type with a fixed number of them, and the closing parenthesis. */
static struct chn_type *parse_children(struct parser *p, enum chn_kind kind, unsigned n) {
    struct chn_type *type = new_type(p, kind, 0);
    if (type == NULL) return NULL;
    for (unsigned i = 0; i < n; i++) {
        if (i > 0 && !take(p, ',')) return refuse(p, type, "too few arguments");
        struct chn_type *child = parse_type(p);
        if (child == NULL) {
            chn_type__free(type);
            return NULL;
        }
        if (!add_child(type, child)) return lack_memory(p, type);
    }
    return take(p, ')') ? type : refuse(p, type, "\")\" expected");
}

/* Tuple elements may have names: `Tuple(a UInt8, b String)`. A name is a word before another word.
 */
static void skip_element_name(struct parser *p) {
    const char *start = p->at;
    skip_spaces(p);
    if (p->at < p->end && *p->at == '`') {
        for (p->at++; p->at < p->end && *p->at != '`'; p->at++)
            if (*p->at == '\\' && p->at + 1 < p->end) p->at++;
        if (p->at < p->end) p->at++;
        return;
    }
    while (p->at < p->end && is_word(*p->at)) p->at++;
    if (p->at == p->end || *p->at != ' ' || p->at + 1 == p->end || !is_word(p->at[1]))
        p->at = start;
}

static struct chn_type *parse_tuple(struct parser *p) {
    struct chn_type *type = new_type(p, CHN_TUPLE, 0);
    if (type == NULL) return NULL;
    if (take(p, ')')) { /* An empty tuple is one byte a row. */
        type->width = 1;
        return type;
    }
    do {
        skip_element_name(p);
        struct chn_type *child = parse_type(p);
        if (child == NULL) {
            chn_type__free(type);
            return NULL;
        }
        if (!add_child(type, child)) return lack_memory(p, type);
    } while (take(p, ','));
    return take(p, ')') ? type : refuse(p, type, "\")\" expected");
}

static struct chn_type *parse_enum(struct parser *p, uint32_t width) {
    struct chn_type *type = new_type(p, CHN_ENUM, width);
    if (type == NULL) return NULL;
    struct parser ahead = *p; /* Once to count, once to fill. */
    size_t n_names = 0, n_bytes = 0;
    long value;
    do {
        long n = take_quoted(&ahead, NULL);
        if (n < 0 || !take(&ahead, '=') ||
            !take_number(&ahead, width == 1 ? -128 : -32768, width == 1 ? 127 : 32767, &value))
            return refuse(p, type, "an enum has names and values");
        n_names++;
        n_bytes += (size_t)n + 1;
    } while (take(&ahead, ','));
    if (!take(&ahead, ')')) return refuse(p, type, "\")\" expected");
    type->names = calloc(n_names, sizeof *type->names);
    type->name_bytes = calloc(n_bytes, 1);
    if (type->names == NULL || type->name_bytes == NULL) return lack_memory(p, type);
    char *at = type->name_bytes;
    for (size_t i = 0; i < n_names; i++) {
        if (i > 0) take(p, ',');
        long n = take_quoted(p, at);
        take(p, '=');
        take_number(p, -32768, 32767, &value);
        type->names[i] = (struct chn_enum_name){at, (size_t)n, (int16_t)value};
        at += n + 1;
    }
    type->n_names = (uint32_t)n_names;
    take(p, ')');
    return type;
}

static struct chn_type *parse_decimal(struct parser *p, long precision) {
    long scale = 0;
    if (precision == 0) {
        if (!take_number(p, 1, 76, &precision))
            return refuse(p, NULL, "its precision is from 1 to 76");
        if (take(p, ',') && !take_number(p, 0, precision, &scale))
            return refuse(p, NULL, "bad scale");
    } else if (!take_number(p, 0, precision, &scale)) return refuse(p, NULL, "bad scale");
    if (!take(p, ')')) return refuse(p, NULL, "\")\" expected");
    uint32_t width = precision <= 9 ? 4 : precision <= 18 ? 8 : precision <= 38 ? 16 : 32;
    struct chn_type *type = new_type(p, CHN_DECIMAL, width);
    if (type == NULL) return NULL;
    type->precision = (uint32_t)precision;
    type->scale = (uint32_t)scale;
    return type;
}

static struct chn_type *parse_date_time64(struct parser *p) {
    long scale;
    if (!take_number(p, 0, 9, &scale)) return refuse(p, NULL, "its scale is from 0 to 9");
    if (take(p, ',') && take_quoted(p, NULL) < 0) return refuse(p, NULL, "a time zone is quoted");
    if (!take(p, ')')) return refuse(p, NULL, "\")\" expected");
    struct chn_type *type = new_type(p, CHN_DATETIME64, 8);
    if (type != NULL) type->scale = (uint32_t)scale;
    return type;
}

static struct chn_type *parse_fixed_string(struct parser *p) {
    long n;
    if (!take_number(p, 1, CHN_FIXED_STRING_MAX, &n) || !take(p, ')'))
        return refuse(p, NULL, "bad length");
    return new_type(p, CHN_FIXED_STRING, (uint32_t)n);
}

static struct chn_type *parse_time64(struct parser *p) {
    long scale;
    if (!take_number(p, 0, 9, &scale)) return refuse(p, NULL, "its scale is from 0 to 9");
    if (!take(p, ')')) return refuse(p, NULL, "\")\" expected");
    struct chn_type *type = new_type(p, CHN_TIME64, 8);
    if (type != NULL) type->scale = (uint32_t)scale;
    return type;
}

/* JSON(max_dynamic_paths = 8, a.b UInt32, SKIP REGEXP 'c)'): documents come as text, so that the
 * arguments are only passed over, quotes and parentheses counted. */
static struct chn_type *parse_json(struct parser *p) {
    for (unsigned depth = 1; p->at < p->end;) {
        char c = *p->at;
        if (c == '\'') {
            if (take_quoted(p, NULL) < 0) break;
            continue;
        }
        p->at++;
        if (c == '`') { /* A path with any bytes. */
            for (; p->at < p->end && *p->at != '`'; p->at++)
                if (*p->at == '\\' && p->at + 1 < p->end) p->at++;
            if (p->at < p->end) p->at++;
        }
        if (c == '(') depth++;
        if (c == ')' && --depth == 0) return new_type(p, CHN_JSON, 0);
    }
    return refuse(p, NULL, "\")\" expected");
}

/* SimpleAggregateFunction(name[(arguments)], T): the function does not matter on the wire. */
static struct chn_type *parse_simple_aggregate(struct parser *p) {
    char word[WORD_MAX + 1];
    if (take_word(p, word) == 0) return refuse(p, NULL, "no function");
    if (take(p, '(')) {
        while (p->at < p->end && *p->at != ')') p->at++;
        take(p, ')');
    }
    if (!take(p, ',')) return refuse(p, NULL, "too few arguments");
    struct chn_type *type = parse_type(p);
    if (type == NULL) return NULL;
    return take(p, ')') ? type : refuse(p, type, "\")\" expected");
}

static struct chn_type *parse_nested(struct parser *p) {
    struct chn_type *array = new_type(p, CHN_ARRAY, 0),
                    *tuple = array != NULL ? parse_tuple(p) : NULL;
    if (tuple == NULL) {
        chn_type__free(array);
        return NULL;
    }
    return add_child(array, tuple) ? array : lack_memory(p, array);
}

static bool may_be_nullable(const struct chn_type *type) {
    return type->n_children == 0 && type->kind != CHN_TUPLE;
}

static struct chn_type *parse_arguments(struct parser *p, const char *word) {
    struct chn_type *type;
    if (strcmp(word, "Nullable") == 0) {
        type = parse_children(p, CHN_NULLABLE, 1);
        return type == NULL || may_be_nullable(type->children[0])
                   ? type
                   : refuse(p, type, "not to be nullable");
    }
    if (strcmp(word, "LowCardinality") == 0) {
        type = parse_children(p, CHN_LOW_CARDINALITY, 1);
        if (type == NULL) return NULL;
        const struct chn_type *inner = type->children[0];
        if (inner->kind == CHN_NULLABLE) inner = inner->children[0];
        return may_be_nullable(inner) && inner->kind != CHN_JSON
                   ? type
                   : refuse(p, type, "a dictionary of such values");
    }
    if (strcmp(word, "Array") == 0) return parse_children(p, CHN_ARRAY, 1);
    if (strcmp(word, "Map") == 0) return parse_children(p, CHN_MAP, 2);
    if (strcmp(word, "Tuple") == 0) return parse_tuple(p);
    if (strcmp(word, "Nested") == 0) return parse_nested(p);
    if (strcmp(word, "Enum8") == 0) return parse_enum(p, 1);
    if (strcmp(word, "Enum16") == 0) return parse_enum(p, 2);
    if (strcmp(word, "FixedString") == 0) return parse_fixed_string(p);
    if (strcmp(word, "DateTime64") == 0) return parse_date_time64(p);
    if (strcmp(word, "Time64") == 0) return parse_time64(p);
    if (strcmp(word, "JSON") == 0) return parse_json(p);
    if (strcmp(word, "Decimal") == 0) return parse_decimal(p, 0);
    if (strcmp(word, "Decimal32") == 0) return parse_decimal(p, 9);
    if (strcmp(word, "Decimal64") == 0) return parse_decimal(p, 18);
    if (strcmp(word, "Decimal128") == 0) return parse_decimal(p, 38);
    if (strcmp(word, "Decimal256") == 0) return parse_decimal(p, 76);
    if (strcmp(word, "SimpleAggregateFunction") == 0) return parse_simple_aggregate(p);
    if (strcmp(word, "DateTime") == 0) {
        if (take_quoted(p, NULL) < 0 || !take(p, ')'))
            return refuse(p, NULL, "a time zone is quoted");
        return new_type(p, CHN_DATETIME, 4);
    }
    return refuse(p, NULL, "it is not known");
}

static struct chn_type *parse_type(struct parser *p) {
    char word[WORD_MAX + 1];
    if (take_word(p, word) == 0) return refuse(p, NULL, "a type is missing");
    if (take(p, '(')) {
        if (++p->depth > CHN_TYPE_DEPTH_MAX) return refuse(p, NULL, "it is nested too deep");
        struct chn_type *type = parse_arguments(p, word);
        p->depth--;
        return type;
    }
    if (strcmp(word, "DateTime") == 0) return new_type(p, CHN_DATETIME, 4);
    if (strncmp(word, "Interval", 8) == 0) return new_type(p, CHN_INT, 8);
    for (size_t i = 0; i < sizeof plain_types / sizeof plain_types[0]; i++)
        if (strcmp(word, plain_types[i].word) == 0)
            return new_type(p, plain_types[i].kind, plain_types[i].width);
    return refuse(p, NULL, "it is not known");
}

struct chn_type *chn_type__parse(const char *text, size_t n, struct chn_err *err) {
    struct parser p = {.at = text, .end = text + n, .err = err, .text = text, .text_bytes = n};
    if (n > CHN_TYPE_BYTES_MAX) return refuse(&p, NULL, "it is too long");
    struct chn_type *type = parse_type(&p);
    if (type == NULL) return NULL;
    skip_spaces(&p);
    return p.at == p.end ? type : refuse(&p, type, "something follows it");
}

bool chn_type__equal(const struct chn_type *a, const struct chn_type *b) {
    if (a->kind != b->kind || a->width != b->width || a->scale != b->scale ||
        a->precision != b->precision || a->n_children != b->n_children || a->n_names != b->n_names)
        return false;
    for (uint32_t i = 0; i < a->n_children; i++)
        if (!chn_type__equal(a->children[i], b->children[i])) return false;
    for (uint32_t i = 0; i < a->n_names; i++) { /* Servers order them differently. */
        bool found = false;
        for (uint32_t k = 0; k < b->n_names && !found; k++)
            found = a->names[i].value == b->names[k].value && a->names[i].n == b->names[k].n &&
                    memcmp(a->names[i].name, b->names[k].name, a->names[i].n) == 0;
        if (!found) return false;
    }
    return true;
}

void chn_type__free(struct chn_type *type) {
    if (type == NULL) return;
    for (uint32_t i = 0; i < type->n_children; i++) chn_type__free(type->children[i]);
    free(type->children);
    free(type->names);
    free(type->name_bytes);
    free(type);
}
