/* The YAML as a tree, before it is loaded: libcyaml stops at its first error and knows no lines
 * afterwards, so this walks libyaml's document against the same schema, reports everything that
 * does not fit, replaces ${NAME}, and remembers where each value stands. */
#include "config_internal.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

enum { PATH_MAX_BYTES = 192, KEY_MAX = 40, DEPTH_MAX = 8, VALUE_MAX = 4096, BRACKETS_MAX = 500 };

struct walk {
    struct config_job *job;
    yaml_document_t *doc;
    bool seen[CONFIG_NODES_MAX]; /* A node that is met twice is an alias. */
};

static int line_of(const yaml_node_t *node) { return (int)node->start_mark.line + 1; }

static const char *text_of(const yaml_node_t *node) {
    return node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : "";
}

/* Levenshtein distance, for suggestions; both are at most KEY_MAX. */
static size_t distance(const char *a, const char *b) {
    size_t row[KEY_MAX + 1], b_len = strlen(b);
    if (strlen(a) > KEY_MAX || b_len > KEY_MAX) return KEY_MAX;
    for (size_t j = 0; j <= b_len; j++) row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_len; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[b_len];
}

static void report_unknown(struct walk *w, const yaml_node_t *key, const char *path,
                           const cyaml_schema_field_t *fields) {
    const char *nearest = NULL, *name = text_of(key);
    size_t least = 4;
    char known[200] = "";
    for (const cyaml_schema_field_t *f = fields; f->key != NULL; f++) {
        size_t d = distance(name, f->key), used = strlen(known);
        if (d < least) {
            least = d;
            nearest = f->key;
        }
        snprintf(known + used, sizeof known - used, "%s%s", used == 0 ? "" : ", ", f->key);
    }
    const char *dot = path[0] == '\0' ? "" : ".";
    if (nearest != NULL)
        job__errorf(w->job, line_of(key), "unknown key \"%s%s%.64s\" (did you mean \"%s\"?)", path,
                    dot, name, nearest);
    else
        job__errorf(w->job, line_of(key), "unknown key \"%s%s%.64s\" (expected one of: %s)", path,
                    dot, name, known);
}

static bool is_name(const char *base, size_t len) {
    if (len == 0 || len > 64) return false;
    for (size_t i = 0; i < len; i++)
        if (!((base[i] >= 'A' && base[i] <= 'Z') || (base[i] >= 'a' && base[i] <= 'z') ||
              base[i] == '_' || (i > 0 && base[i] >= '0' && base[i] <= '9')))
            return false;
    return true;
}

/* Replaces every ${NAME} and ${NAME:-text} of the scalar @node, and $${ by the two characters. */
static void expand(struct walk *w, yaml_node_t *node) {
    const char *at = text_of(node), *start;
    if (strstr(at, "${") == NULL) return;
    struct buf out = buf__init(VALUE_MAX);
    for (; (start = strstr(at, "${")) != NULL;) {
        if (start > at && start[-1] == '$') {
            buf__append(&out, at, (size_t)(start - at) - 1);
            buf__append(&out, "${", 2);
            at = start + 2;
            continue;
        }
        const char *end = strchr(start, '}');
        size_t len = end == NULL ? 0 : (size_t)(end - start) - 2;
        const char *fallback = end == NULL ? NULL : memmem(start + 2, len, ":-", 2);
        size_t name_len = fallback == NULL ? len : (size_t)(fallback - start) - 2;
        char name[65];
        bool nested = fallback != NULL && memmem(fallback, len - name_len, "${", 2) != NULL;
        if (!is_name(start + 2, name_len) || nested) {
            job__errorf(w->job, line_of(node),
                        "\"%.64s\" (expected ${NAME} or ${NAME:-text}, the text without ${; $${ "
                        "stands for ${ itself)",
                        start);
            goto out;
        }
        snprintf(name, sizeof name, "%.*s", (int)name_len, start + 2);
        const char *value = w->job->env(name);
        buf__append(&out, at, (size_t)(start - at));
        if (value != NULL && (value[0] != '\0' || fallback == NULL)) buf__append_str(&out, value);
        else if (fallback != NULL) buf__append(&out, fallback + 2, (size_t)(end - fallback) - 2);
        else {
            job__errorf(w->job, line_of(node),
                        "environment variable %s is not set (expected it, or "
                        "${%s:-text})",
                        name, name);
            goto out;
        }
        at = end + 1;
    }
    buf__append_str(&out, at);
    char *copy = buf__u8(&out, 0) ? strdup(out.base) : NULL; /* libyaml frees it. */
    if (copy == NULL) job__errorf(w->job, line_of(node), "value is too long");
    else if (!slice__is_utf8(slice__str(copy))) {
        job__errorf(w->job, line_of(node), "value from the environment is not UTF-8");
        free(copy);
    } else {
        free(node->data.scalar.value);
        node->data.scalar.value = (yaml_char_t *)copy;
        node->data.scalar.length = strlen(copy);
    }
out:
    buf__fini(&out);
}

static bool is_number(const char *z, bool whole) {
    const char *digits = z[0] == '-' ? z + 1 : z;
    size_t n = strspn(digits, "0123456789");
    char *end;
    if (n == 0 || (digits[0] == '0' && n > 1)) return false; /* Not octal to anybody. */
    errno = 0;
    if (whole) return digits[n] == '\0' && (strtoll(z, &end, 10), errno == 0);
    digits += n;
    if (*digits == '.') digits += 1 + strspn(digits + 1, "0123456789");
    if (*digits == 'e') { /* As libcyaml prints them. */
        digits += 1 + (digits[1] == '+' || digits[1] == '-');
        n = strspn(digits, "0123456789");
        if (n == 0) return false;
        digits += n;
    }
    if (*digits != '\0') return false;
    return isfinite(strtod(z, &end)) && errno == 0;
}

static void check_scalar(struct walk *w, yaml_node_t *node, const cyaml_schema_value_t *schema,
                         const char *path) {
    expand(w, node);
    const char *z = text_of(node);
    char known[128] = "";
    switch (schema->type) {
    case CYAML_INT:
        if (!is_number(z, true))
            job__errorf(w->job, line_of(node), "%s is \"%.40s\" (expected a whole number)", path,
                        z);
        return;
    case CYAML_FLOAT:
        if (!is_number(z, false))
            job__errorf(w->job, line_of(node), "%s is \"%.40s\" (expected a number)", path, z);
        return;
    case CYAML_BOOL:
        if (strcmp(z, "true") != 0 && strcmp(z, "false") != 0)
            job__errorf(w->job, line_of(node), "%s is \"%.40s\" (expected true or false)", path, z);
        return;
    case CYAML_ENUM:
        for (uint32_t i = 0; i < schema->enumeration.count; i++) {
            size_t used = strlen(known);
            if (strcmp(schema->enumeration.strings[i].str, z) == 0) return;
            snprintf(known + used, sizeof known - used, "%s%s", used == 0 ? "" : ", ",
                     schema->enumeration.strings[i].str);
        }
        job__errorf(w->job, line_of(node), "%s is \"%.40s\" (expected one of: %s)", path, z, known);
        return;
    default:
        if (strlen(z) != node->data.scalar.length)
            job__errorf(w->job, line_of(node), "%s holds a zero byte", path);
        else if (strlen(z) > schema->string.max)
            job__errorf(w->job, line_of(node), "%s is longer than %u bytes", path,
                        schema->string.max);
        return;
    }
}

static void check_node(struct walk *w, int index, const cyaml_schema_value_t *schema,
                       const char *path, int depth);

static void check_mapping(struct walk *w, const yaml_node_t *node,
                          const cyaml_schema_field_t *fields, const char *path, int depth) {
    const yaml_node_pair_t *pairs = node->data.mapping.pairs.start;
    for (const yaml_node_pair_t *p = pairs; p < node->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(w->doc, p->key);
        const cyaml_schema_field_t *f = fields;
        char below[PATH_MAX_BYTES];
        w->seen[p->key] = true;
        while (f->key != NULL &&
               (key->type != YAML_SCALAR_NODE || strcmp(f->key, text_of(key)) != 0))
            f++;
        if (f->key == NULL) {
            report_unknown(w, key, path, fields);
            continue;
        }
        snprintf(below, sizeof below, "%s%s%s", path, path[0] == '\0' ? "" : ".", f->key);
        if (job__line(w->job, below) != 0)
            job__errorf(w->job, line_of(key), "%s is given twice (first in line %d)", below,
                        job__line(w->job, below));
        else check_node(w, p->value, &f->value, below, depth + 1);
    }
}

static void remember(struct walk *w, const yaml_node_t *node, const char *path) {
    if (w->job->n_places == CONFIG_NODES_MAX) return;
    char *copy = strdup(path);
    if (copy == NULL) w->job->no_memory = true;
    if (copy == NULL) return;
    w->job->places[w->job->n_places++] = (struct config_place){.path = copy, .line = line_of(node)};
}

static void check_node(struct walk *w, int index, const cyaml_schema_value_t *schema,
                       const char *path, int depth) {
    yaml_node_t *node = yaml_document_get_node(w->doc, index);
    if (w->seen[index] || depth > DEPTH_MAX) {
        job__errorf(w->job, line_of(node), "%s is an alias (expected the value itself)", path);
        return;
    }
    w->seen[index] = true;
    remember(w, node, path);
    if (schema->type == CYAML_MAPPING) {
        if (node->type == YAML_MAPPING_NODE)
            check_mapping(w, node, schema->mapping.fields, path, depth);
        else
            job__errorf(w->job, line_of(node), "%s is no section (expected keys and values)",
                        path[0] == '\0' ? "the file" : path);
        return;
    }
    if (schema->type != CYAML_SEQUENCE) {
        if (node->type == YAML_SCALAR_NODE) check_scalar(w, node, schema, path);
        else job__errorf(w->job, line_of(node), "%s is not a single value", path);
        return;
    }
    if (node->type != YAML_SEQUENCE_NODE) {
        job__errorf(w->job, line_of(node), "%s is no list (expected [a, b] or lines of - a)", path);
        return;
    }
    const yaml_node_item_t *items = node->data.sequence.items.start;
    size_t n = (size_t)(node->data.sequence.items.top - items);
    if (n > schema->sequence.max)
        job__errorf(w->job, line_of(node), "%s has more than %u entries", path,
                    schema->sequence.max);
    for (size_t i = 0; i < n && i < schema->sequence.max; i++) {
        char below[PATH_MAX_BYTES];
        snprintf(below, sizeof below, "%s[%zu]", path, i);
        check_node(w, items[i], schema->sequence.entry, below, depth + 1);
    }
}

static int on_emit(void *data, unsigned char *bytes, size_t len) {
    return buf__append(data, bytes, len) ? 1 : 0;
}

/* Takes @doc. */
static int write_again(yaml_document_t *doc, struct buf *out) {
    yaml_emitter_t emitter;
    if (!yaml_emitter_initialize(&emitter)) {
        yaml_document_delete(doc);
        return ERR_NOMEM;
    }
    yaml_emitter_set_output(&emitter, on_emit, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    int ok = yaml_emitter_dump(&emitter, doc);
    ok = ok && yaml_emitter_flush(&emitter);
    yaml_emitter_delete(&emitter);
    return ok ? 0 : ERR_NOMEM;
}

static int check_document(struct config_job *job, yaml_document_t *doc, struct buf *out) {
    yaml_node_t *root = yaml_document_get_root_node(doc);
    size_t n_nodes = (size_t)(doc->nodes.top - doc->nodes.start);
    struct walk *w = calloc(1, sizeof *w);
    if (w == NULL || n_nodes >= CONFIG_NODES_MAX) {
        if (w != NULL) job__errorf(job, 1, "more than %d values", CONFIG_NODES_MAX);
        free(w);
        yaml_document_delete(doc);
        return w == NULL ? ERR_NOMEM : ERR_CONFIG;
    }
    *w = (struct walk){.job = job, .doc = doc};
    /* Nothing but comments, or nothing at all, is a file that changes no default. */
    bool empty = root == NULL || (root->type == YAML_SCALAR_NODE && root->data.scalar.length == 0);
    if (!empty) check_node(w, 1, &config_schema, "", 0);
    free(w);
    if (job->no_memory) { /* A value whose place is not known would give way to its default. */
        yaml_document_delete(doc);
        return ERR_NOMEM;
    }
    if (job->errs->n > 0 || empty) {
        yaml_document_delete(doc);
        if (empty && !buf__append_str(out, "{}\n")) return ERR_NOMEM;
        return job->errs->n > 0 ? ERR_CONFIG : 0;
    }
    return write_again(doc, out);
}

/* libyaml takes a time that grows with the square of how many brackets are open: 100 KB of them
 * keep it busy for a minute. Brackets in texts and comments count too; nobody has so many. */
static bool is_deep(struct slice text) {
    size_t depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.base[i];
        if (c == '[' || c == '{') depth++;
        else if ((c == ']' || c == '}') && depth > 0) depth--;
        if (depth > BRACKETS_MAX) return true;
    }
    return false;
}

int tree__check(struct config_job *job, struct slice text, struct buf *out) {
    if (is_deep(text)) {
        job__errorf(job, 1, "more than %d brackets are open at once", BRACKETS_MAX);
        return ERR_CONFIG;
    }
    yaml_parser_t parser;
    yaml_document_t doc, more;
    if (!yaml_parser_initialize(&parser)) return ERR_NOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.base, text.len);
    int rc = ERR_CONFIG;
    if (yaml_parser_load(&parser, &doc)) {
        rc = check_document(job, &doc, out);
        if (parser.stream_end_produced || rc != 0) goto out;
        if (!yaml_parser_load(&parser, &more)) goto syntax;
        yaml_node_t *root = yaml_document_get_root_node(&more);
        if (root != NULL) {
            job__errorf(job, line_of(root), "a second document (expected one)");
            rc = ERR_CONFIG;
        }
        yaml_document_delete(&more);
        goto out;
    }
syntax:
    rc = parser.error == YAML_MEMORY_ERROR ? ERR_NOMEM : ERR_CONFIG;
    if (rc != ERR_NOMEM)
        job__errorf(job, (int)parser.problem_mark.line + 1, "not YAML: %s%s%s",
                    parser.problem == NULL ? "unreadable" : parser.problem,
                    parser.context == NULL ? "" : " ",
                    parser.context == NULL ? "" : parser.context);
out:
    yaml_parser_delete(&parser);
    return rc;
}
