/* An overview of poe.ninja to rows of bronze_poeninja_snapshot, one a line.
 *
 *   exchange  lines[{id, primaryValue, volumePrimaryValue, sparkline}], names in items[] by id,
 *             core{primary, rates}: values are in the primary currency
 *   item      lines[{name, variant?, chaosValue, divineValue, listingCount, sparkLine, detailsId}]
 *   currency  lines[{currencyTypeName, chaosEquivalent, receive{listing_count, sample_time_utc},
 *             detailsId,
 *             receiveSparkLine}]
 *
 * A line without a usable value is refused alone. What a divine orb is worth comes from its own
 * line where there is one, because core.rates is rounded; without either, divineEquivalent is 0,
 * which means unknown. */
#include "../ggg/psapi_refusals.h"
#include "poe_ninja_internal.h"
#include "souk/tables.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_MAX = 512, SPARK_MAX = 64 };

struct line {
    struct slice details_id, name, variant;
    double chaos, divine, volume_chaos;
    uint32_t listing_count;
    struct slice sampled_at; /* When the site says that it looked; empty when it does not. */
    float spark[SPARK_MAX];
    size_t n_spark;
    uint32_t n_lost; /* Fields. */
};

/* An entry of items[]: what the exchange's lines are called. */
struct ninja_name {
    struct slice id, name, details_id;
    size_t index;
};

struct overview {
    enum ninja_overview shape;
    double chaos_per_primary, chaos_per_divine; /* 0: not known. */
    struct ninja_name *names;                   /* Owned. Sorted by id. */
    size_t n_names;
};

static int compare_slices(struct slice a, struct slice b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n == 0 ? 0 : memcmp(a.base, b.base, n);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_names(const void *a, const void *b) {
    const struct ninja_name *x = a, *y = b;
    int order = compare_slices(x->id, y->id);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static struct slice text_of(yyjson_val *obj, const char *key) {
    yyjson_val *v = yyjson_obj_get(obj, key);
    bool fits = yyjson_is_str(v) && unsafe_yyjson_get_len(v) <= TEXT_MAX;
    return fits ? decode__slice(v) : slice__of(NULL, 0);
}

static double value_of(yyjson_val *obj, const char *key) {
    yyjson_val *v = yyjson_obj_get(obj, key);
    double value = yyjson_is_num(v) ? yyjson_get_num(v) : 0;
    return quality__value(value) == QUALITY_OK ? value : 0;
}

static int read_names(struct overview *o, yyjson_val *items, struct err *e) {
    size_t i, n;
    yyjson_val *item;
    if (!yyjson_is_arr(items) || yyjson_arr_size(items) == 0) return 0;
    o->names = calloc(yyjson_arr_size(items), sizeof *o->names);
    if (o->names == NULL) return err__setf(e, ERR_NOMEM, "poe_ninja: no memory for names");
    yyjson_arr_foreach(items, i, n, item) {
        struct slice id = text_of(item, "id");
        if (id.len == 0) continue;
        o->names[o->n_names++] = (struct ninja_name){.id = id,
                                                     .name = text_of(item, "name"),
                                                     .details_id = text_of(item, "detailsId"),
                                                     .index = i};
    }
    qsort(o->names, o->n_names, sizeof *o->names, compare_names);
    return 0;
}

/* The first entry of items[] with @id, or NULL. */
static const struct ninja_name *find_name(const struct overview *o, struct slice id) {
    size_t low = 0, high = o->n_names;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare_slices(o->names[mid].id, id) < 0) low = mid + 1;
        else high = mid;
    }
    bool found = low < o->n_names && slice__eq(o->names[low].id, id);
    return found ? &o->names[low] : NULL;
}

/* Finds the line whose field @key is @text. */
static yyjson_val *find_line(yyjson_val *lines, const char *key, struct slice text) {
    size_t i, n;
    yyjson_val *line;
    yyjson_arr_foreach(lines, i, n, line) {
        if (slice__eq(text_of(line, key), text)) return line;
    }
    return NULL;
}

static int read_core(struct overview *o, yyjson_val *root, yyjson_val *lines, struct err *e) {
    yyjson_val *core = yyjson_obj_get(root, "core"), *rates = yyjson_obj_get(core, "rates");
    struct slice primary = text_of(core, "primary");
    double divine_value = value_of(find_line(lines, "id", SLICE_LIT("divine")), "primaryValue");
    if (slice__eq(primary, SLICE_LIT("chaos"))) {
        double divines_per_chaos = value_of(rates, "divine");
        o->chaos_per_primary = 1;
        o->chaos_per_divine = divine_value > 0        ? divine_value
                              : divines_per_chaos > 0 ? 1 / divines_per_chaos
                                                      : 0;
    } else if (slice__eq(primary, SLICE_LIT("divine"))) {
        double chaos_value = value_of(find_line(lines, "id", SLICE_LIT("chaos")), "primaryValue");
        double chaos_rate = value_of(rates, "chaos");
        o->chaos_per_primary = chaos_value > 0 ? 1 / chaos_value : chaos_rate;
        o->chaos_per_divine = o->chaos_per_primary;
        if (o->chaos_per_primary <= 0)
            return err__setf(e, ERR_MALFORMED, "poe_ninja: \"core.rates.chaos\" is missing");
    } else {
        return err__setf(e, ERR_MALFORMED,
                         "poe_ninja: \"core.primary\" is neither chaos nor divine");
    }
    return 0;
}

/* Seven points in percent; days without data are null. */
static bool read_spark(yyjson_val *spark, const char *name, struct line *out,
                       struct decode_fault *f) {
    size_t i, n;
    yyjson_val *point, *data = yyjson_obj_get(spark, "data");
    if (decode__is_absent(spark) || decode__is_absent(data)) return true;
    if (!yyjson_is_arr(data)) return decode__failf(f, DECODE_WRONG_TYPE, data, "%s.data", name);
    if (yyjson_arr_size(data) > SPARK_MAX)
        return decode__failf(f, DECODE_TOO_MANY, NULL, "%s.data", name);
    yyjson_arr_foreach(data, i, n, point) {
        if (!yyjson_is_null(point) && !yyjson_is_num(point))
            return decode__failf(f, DECODE_WRONG_TYPE, point, "%s.data[%zu]", name, i);
        float value = yyjson_is_null(point) ? NAN : (float)yyjson_get_num(point);
        if (isinf(value))
            return decode__failf(f, DECODE_OUT_OF_RANGE, point, "%s.data[%zu]", name, i);
        out->spark[out->n_spark++] = value;
    }
    return true;
}

static bool need_text(yyjson_val *json, const char *key, struct slice *out,
                      struct decode_fault *f) {
    yyjson_val *v = yyjson_obj_get(json, key);
    return decode__need(v, key, f) && decode__str(v, key, TEXT_MAX, out, f);
}

static bool need_num(yyjson_val *json, const char *key, double *out, struct decode_fault *f) {
    yyjson_val *v = yyjson_obj_get(json, key);
    return decode__need(v, key, f) && decode__num(v, key, out, f);
}

/* A line is its name and its value. What else is of an unexpected shape is lost; an impossible
 * number refuses the line. */
static bool lose(struct line *line, struct decode_fault *f) {
    return decode__lose(f, &line->n_lost);
}

static bool side_text(yyjson_val *json, const char *key, struct slice *out, struct line *line,
                      struct decode_fault *f) {
    return decode__str(yyjson_obj_get(json, key), key, TEXT_MAX, out, f) || lose(line, f);
}

static bool side_num(yyjson_val *json, const char *key, double *out, struct line *line,
                     struct decode_fault *f) {
    return decode__num(yyjson_obj_get(json, key), key, out, f) || lose(line, f);
}

static bool side_count(yyjson_val *v, const char *key, struct line *line, struct decode_fault *f) {
    return decode__u32(v, key, UINT32_MAX, &line->listing_count, f) || lose(line, f);
}

static bool side_spark(yyjson_val *json, const char *key, struct line *line,
                       struct decode_fault *f) {
    if (read_spark(yyjson_obj_get(json, key), key, line, f)) return true;
    line->n_spark = 0; /* Half of it would be of other days. */
    return lose(line, f);
}

static bool read_exchange(const struct overview *o, yyjson_val *json, struct line *out,
                          struct decode_fault *f) {
    struct slice id = {0};
    double value = 0, volume = NAN; /* 0 would say that nobody trades. */
    if (!need_text(json, "id", &id, f) || !need_num(json, "primaryValue", &value, f) ||
        !side_num(json, "volumePrimaryValue", &volume, out, f) ||
        !side_spark(json, "sparkline", out, f))
        return false;
    const struct ninja_name *name = find_name(o, id);
    out->details_id = name != NULL && name->details_id.len > 0 ? name->details_id : id;
    if (name != NULL) out->name = name->name;
    out->chaos = value * o->chaos_per_primary;
    out->volume_chaos = volume * o->chaos_per_primary;
    if (o->chaos_per_divine > 0) out->divine = out->chaos / o->chaos_per_divine;
    return true;
}

static bool read_item(yyjson_val *json, struct line *out, struct decode_fault *f) {
    yyjson_val *listings = yyjson_obj_get(json, "listingCount");
    if (decode__is_absent(listings)) listings = yyjson_obj_get(json, "count");
    /* The variant is what the line is about: two of them are two goods. */
    return need_text(json, "detailsId", &out->details_id, f) &&
           need_text(json, "name", &out->name, f) &&
           decode__str(yyjson_obj_get(json, "variant"), "variant", TEXT_MAX, &out->variant, f) &&
           need_num(json, "chaosValue", &out->chaos, f) &&
           side_num(json, "divineValue", &out->divine, out, f) &&
           side_count(listings, "listingCount", out, f) && side_spark(json, "sparkLine", out, f);
}

static bool read_currency(const struct overview *o, yyjson_val *json, struct line *out,
                          struct decode_fault *f) {
    yyjson_val *receive = yyjson_obj_get(json, "receive");
    if (!need_text(json, "currencyTypeName", &out->name, f) ||
        !need_num(json, "chaosEquivalent", &out->chaos, f) ||
        !side_text(json, "detailsId", &out->details_id, out, f) ||
        !side_count(yyjson_obj_get(receive, "listing_count"), "receive.listing_count", out, f) ||
        !side_text(receive, "sample_time_utc", &out->sampled_at, out, f) ||
        !side_spark(json, "receiveSparkLine", out, f))
        return false;
    int64_t sampled_wall_ns;
    if (out->sampled_at.len > 0 && !quality__utc(out->sampled_at, &sampled_wall_ns)) {
        out->sampled_at = (struct slice){0}; /* No time at all. */
        out->n_lost++;
    }
    if (o->chaos_per_divine > 0) out->divine = out->chaos / o->chaos_per_divine;
    return true;
}

static void write_line(struct batch *b, const struct page *page, struct slice league_key,
                       const struct overview *o, const char *type, const struct line *line,
                       struct slice payload_hash, size_t index) {
    batch__begin(b);
    batch__i64(b, page->received_wall_ns / NS_PER_MS);
    batch__cstr(b, page->stream->league);
    batch__str(b, league_key);
    batch__cstr(b, poe_ninja__overview_name(o->shape));
    batch__cstr(b, type);
    batch__str(b, line->details_id);
    batch__str(b, line->name);
    batch__str(b, line->variant);
    batch__f64(b, line->chaos);
    batch__f64(b, line->divine);
    batch__f64(b, line->volume_chaos);
    batch__u32(b, line->listing_count);
    batch__f32s(b, line->spark, line->n_spark);
    batch__u8(b, page->freshness == PAGE_STALE);
    batch__str(b, payload_hash);
    batch__cstr(b, POE_NINJA_NAME);
    batch__u64(b, page->lsn);
    batch__u32(b, (uint32_t)index);
    batch__end(b);
}

/* @return QUALITY_OK, or why the line is refused, with the field in *field. */
static enum quality_reason check_line(const struct line *line, const struct overview *o,
                                      int64_t received_wall_ns, const char **field) {
    static const char *const value_fields[] = {
        [NINJA_EXCHANGE] = "primaryValue",
        [NINJA_ITEM] = "chaosValue",
        [NINJA_CURRENCY] = "chaosEquivalent",
    };
    *field = value_fields[o->shape];
    if (quality__value(line->chaos) != QUALITY_OK) return QUALITY_BAD_PRICE;
    *field = "divineValue"; /* 0 is unknown. */
    if (line->divine != 0 && quality__value(line->divine) != QUALITY_OK) return QUALITY_BAD_PRICE;
    *field = "receive.sample_time_utc";
    int64_t sampled_wall_ns;
    if (line->sampled_at.len > 0 &&
        (!quality__utc(line->sampled_at, &sampled_wall_ns) ||
         quality__time(sampled_wall_ns, received_wall_ns) != QUALITY_OK))
        return QUALITY_BAD_TIME;
    *field = "volumePrimaryValue";
    return isnan(line->volume_chaos) ? QUALITY_OK : quality__size(line->volume_chaos);
}

static void walk_lines(const struct page *page, const struct decode_context *context,
                       const struct overview *o, const char *type, yyjson_val *lines,
                       struct refusals *refusals) {
    size_t i, n;
    yyjson_val *json;
    struct slice league_key = source__league_key(context, slice__str(page->stream->league));
    char hash[TABLES_HASH_SIZE], at[32];
    struct slice payload_hash = tables__hash(page->body, hash);
    yyjson_arr_foreach(lines, i, n, json) {
        if (i >= POE_NINJA_LINES_MAX) {
            refusals__over(refusals, n - i);
            return;
        }
        struct line line = {0};
        struct decode_fault f = {.kind = DECODE_FINE};
        bool ok = yyjson_is_obj(json) ? true : decode__failf(&f, DECODE_WRONG_TYPE, json, "%s", "");
        if (ok && o->shape == NINJA_EXCHANGE) ok = read_exchange(o, json, &line, &f);
        else if (ok && o->shape == NINJA_ITEM) ok = read_item(json, &line, &f);
        else if (ok) ok = read_currency(o, json, &line, &f);
        snprintf(at, sizeof at, "lines[%zu]", i);
        if (!ok) {
            refusals__fault(refusals, at, &f, json);
            continue;
        }
        const char *field;
        enum quality_reason reason = check_line(&line, o, page->received_wall_ns, &field);
        if (reason != QUALITY_OK) {
            yyjson_val *value =
                reason == QUALITY_BAD_TIME
                    ? yyjson_obj_get(yyjson_obj_get(json, "receive"), "sample_time_utc")
                    : yyjson_obj_get(json, field);
            refusals__add(refusals, reason, at, field, value, json);
            continue;
        }
        refusals->rows->n_fields_lost += line.n_lost;
        struct batch *b = rows__batch(refusals->rows, &table_bronze_poeninja_snapshot, league_key);
        if (b != NULL) write_line(b, page, league_key, o, type, &line, payload_hash, i);
    }
}

static int read_overview(struct overview *o, yyjson_val *root, yyjson_val **lines, struct err *e) {
    *lines = yyjson_obj_get(root, "lines");
    if (!yyjson_is_arr(*lines))
        return err__setf(e, ERR_MALFORMED, "poe_ninja: \"lines\" is not an array");
    if (o->shape == NINJA_CURRENCY)
        o->chaos_per_divine = value_of(
            find_line(*lines, "currencyTypeName", SLICE_LIT("Divine Orb")), "chaosEquivalent");
    if (o->shape != NINJA_EXCHANGE) return 0;
    int code = read_core(o, root, *lines, e);
    return code != 0 ? code : read_names(o, yyjson_obj_get(root, "items"), e);
}

int poe_ninja__decode(const struct page *page, const struct decode_context *context,
                      struct rows *out, struct err *e) {
    struct overview o = {.shape = NINJA_EXCHANGE};
    const char *type;
    yyjson_doc *doc;
    yyjson_val *lines;
    if (!poe_ninja__kind(page->stream->kind, &o.shape, &type))
        return err__setf(e, ERR_CONFIG, "poe_ninja: stream of unknown kind %s", page->stream->kind);
    int code = decode__read(page->body, &doc, e);
    if (code != 0) return err__prefixf(e, "poe_ninja");
    code = read_overview(&o, yyjson_doc_get_root(doc), &lines, e);
    if (code == 0) {
        struct refusals refusals;
        refusals__init(&refusals, page, POE_NINJA_NAME, table_bronze_poeninja_snapshot.name, out);
        walk_lines(page, context, &o, type, lines, &refusals);
        refusals__end(&refusals);
        refusals__fini(&refusals);
        if (refusals__rows_failed(out)) {
            code = rows__no_memory(out) ? ERR_NOMEM : ERR_LIMIT;
            rows__fini(out);
            err__setf(e, code, "poe_ninja: the rows of one page do not fit");
        }
    }
    free(o.names);
    yyjson_doc_free(doc);
    return code;
}
