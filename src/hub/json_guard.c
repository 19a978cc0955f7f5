/* JSON from outside. yyjson refuses what is not JSON (NaN, lone surrogates, bad UTF-8) without
 * recursion; depth, string sizes, repeated keys and zero characters are ours to refuse. */
#include "json_guard.h"

static bool has_bounds(struct slice text) {
    size_t depth = 0, string_at = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.base[i];
        if (in_string) {
            if (c == '\\') i++;
            else if (c == '"') in_string = false;
            if (i - string_at > 6 * JSON_STRING_MAX) return false;
        } else if (c == '"') {
            in_string = true;
            string_at = i;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX) return false;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

static bool is_good_string(yyjson_val *v) {
    size_t len = yyjson_get_len(v);
    return len <= JSON_STRING_MAX && memchr(yyjson_get_str(v), '\0', len) == NULL;
}

/* Recursion is bounded by JSON_DEPTH_MAX, the pairs of keys by the size of a message. */
static bool is_good(yyjson_val *v) {
    size_t i, max;
    yyjson_val *key, *value;
    if (yyjson_is_str(v)) return is_good_string(v);
    if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, max, value) if (!is_good(value)) return false;
        return true;
    }
    if (!yyjson_is_obj(v)) return true;
    yyjson_obj_foreach(v, i, max, key, value) {
        /* yyjson finds the first of equal keys: finding another value means there are two. */
        if (!is_good_string(key) || !is_good(value) ||
            yyjson_obj_getn(v, yyjson_get_str(key), yyjson_get_len(key)) != value)
            return false;
    }
    return true;
}

yyjson_doc *json_guard__read(struct slice text) {
    if (!has_bounds(text)) return NULL;
    yyjson_doc *doc = yyjson_read(text.base, text.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (yyjson_is_obj(root) && is_good(root)) return doc;
    yyjson_doc_free(doc);
    return NULL;
}
