/* A digest of the currency exchange to rows of bronze_exchange_events, one a market and league:
 *
 *   {next_change_id, markets[{league, market_id, market_pair[A, B], volume_traded{A, B},
 *    lowest_stock{}, highest_stock{}, lowest_ratio{}, highest_ratio{}}]}
 *
 * Ids are Metadata paths, in old digests short words. The pair comes from market_id where
 * market_pair is not sent. A market without trades has zeros; nothing here divides by them.
 *
 * Hours that lie between the two ends of the page's transition were not there: each becomes a row
 * of bronze_exchange_gaps. A page without markets is what judge keeps when a day of hours is
 * missing. */
#include "currency_exchange_internal.h"
#include "psapi_refusals.h"
#include "souk/tables.h"
#include <stdio.h>

enum { ID_MAX = 256, LEAGUE_MAX = 128, GAPS_MAX = 100000 };

int exchange__envelope(yyjson_val *root, int64_t *next, yyjson_val **markets, struct err *e) {
    yyjson_val *id = yyjson_obj_get(root, "next_change_id");
    *markets = yyjson_obj_get(root, "markets");
    *next = 0;
    if (!yyjson_is_obj(root)) return err__setf(e, ERR_MALFORMED, EXCHANGE_NAME ": not an object");
    /* Old answers of the OAuth form have it as text. */
    bool is_hour = yyjson_is_str(id)    ? exchange__hour(decode__slice(id), next)
                   : yyjson_is_uint(id) ? yyjson_get_uint(id) <= (uint64_t)EXCHANGE_HOUR_MAX
                                        : false;
    if (is_hour && yyjson_is_uint(id)) *next = (int64_t)yyjson_get_uint(id);
    if (!is_hour || *next <= 0 || *next % EXCHANGE_HOUR_S != 0) {
        *next = 0;
        return err__setf(e, ERR_MALFORMED, EXCHANGE_NAME ": \"next_change_id\" is not an hour");
    }
    if (!yyjson_is_arr(*markets))
        return err__setf(e, ERR_MALFORMED, EXCHANGE_NAME ": \"markets\" is not an array");
    return 0;
}

static bool need_text(yyjson_val *json, const char *name, size_t max, struct slice *out,
                      struct decode_fault *f) {
    yyjson_val *v = yyjson_obj_get(json, name);
    if (!decode__need(v, name, f) || !decode__str(v, name, max, out, f)) return false;
    return out->len > 0 || decode__failf(f, DECODE_MISSING, v, "%s", name);
}

/* The pair stands in the market's id too, so that its own field can be lost. */
static bool read_pair(yyjson_val *json, struct exchange_row *row, uint32_t *n_lost,
                      struct decode_fault *f) {
    yyjson_val *pair = yyjson_obj_get(json, "market_pair");
    struct decode_list list = decode__list(pair);
    bool is_pair = list.left == 2;
    if (!is_pair && !decode__is_absent(pair)) ++*n_lost;
    if (!is_pair) {
        const char *bar = memchr(row->market_id.base, '|', row->market_id.len);
        size_t at = bar == NULL ? 0 : (size_t)(bar - row->market_id.base);
        if (at == 0 || at + 1 == row->market_id.len)
            return decode__failf(f, DECODE_MISSING, NULL, "market_pair");
        row->base = slice__of(row->market_id.base, at);
        row->quote = slice__of(bar + 1, row->market_id.len - at - 1);
    } else {
        yyjson_val *base = decode__next(&list), *quote = decode__next(&list);
        if (!decode__need(base, "market_pair[0]", f) || !decode__need(quote, "market_pair[1]", f) ||
            !decode__str(base, "market_pair[0]", ID_MAX, &row->base, f) ||
            !decode__str(quote, "market_pair[1]", ID_MAX, &row->quote, f))
            return false;
    }
    if (row->base.len == 0 || row->quote.len == 0 || slice__eq(row->base, row->quote))
        return decode__failf(f, DECODE_OUT_OF_RANGE, pair, "market_pair");
    return true;
}

/* A number for each of the pair; neither may lack. */
static bool read_two(yyjson_val *json, const char *name, const struct exchange_row *row,
                     uint64_t out[2], struct decode_fault *f) {
    yyjson_val *both = yyjson_obj_get(json, name);
    if (!decode__need(both, name, f)) return false;
    if (!yyjson_is_obj(both)) return decode__failf(f, DECODE_WRONG_TYPE, both, "%s", name);
    const struct slice ids[] = {row->base, row->quote};
    for (size_t i = 0; i < 2; i++) {
        static const char *const sides[] = {"base", "quote"};
        yyjson_val *v = yyjson_obj_getn(both, ids[i].base, ids[i].len);
        if (v == NULL) return decode__failf(f, DECODE_MISSING, both, "%s.%s", name, sides[i]);
        if (yyjson_is_sint(v) && yyjson_get_sint(v) < 0)
            return decode__failf(f, DECODE_OUT_OF_RANGE, v, "%s.%s", name, sides[i]);
        if (!yyjson_is_int(v))
            return decode__failf(f, DECODE_WRONG_TYPE, v, "%s.%s", name, sides[i]);
        out[i] = yyjson_get_uint(v);
    }
    return true;
}

/* Quote per base; 0 without trades. */
static double ratio_of(const uint64_t pair[2]) {
    return pair[0] == 0 || pair[1] == 0 ? 0 : (double)pair[1] / (double)pair[0];
}

/* A ratio of one side alone is none. Which of the two that were sent is the lower one depends on
 * the side that upstream looks from. */
static enum quality_reason set_ratios(struct exchange_row *row) {
    const uint64_t *low = row->lowest_ratio, *high = row->highest_ratio;
    if ((low[0] == 0) != (low[1] == 0) || (high[0] == 0) != (high[1] == 0))
        return QUALITY_BAD_PRICE;
    double a = ratio_of(low), b = ratio_of(high);
    if ((a != 0 && quality__value(a) != QUALITY_OK) || (b != 0 && quality__value(b) != QUALITY_OK))
        return QUALITY_BAD_PRICE;
    row->ratio_low = a < b ? a : b;
    row->ratio_high = a < b ? b : a;
    return QUALITY_OK;
}

static bool read_market(yyjson_val *json, struct exchange_row *row, uint32_t *n_lost,
                        struct decode_fault *f) {
    if (!yyjson_is_obj(json)) return decode__failf(f, DECODE_WRONG_TYPE, json, "%s", "");
    return need_text(json, "league", LEAGUE_MAX, &row->league, f) &&
           need_text(json, "market_id", 2 * ID_MAX + 1, &row->market_id, f) &&
           read_pair(json, row, n_lost, f) &&
           read_two(json, "volume_traded", row, row->volume, f) &&
           read_two(json, "lowest_ratio", row, row->lowest_ratio, f) &&
           read_two(json, "highest_ratio", row, row->highest_ratio, f) &&
           read_two(json, "lowest_stock", row, row->lowest_stock, f) &&
           read_two(json, "highest_stock", row, row->highest_stock, f);
}

static void walk_markets(const struct page *page, const struct decode_context *context,
                         int64_t next, yyjson_val *markets, struct refusals *refusals) {
    size_t i, n;
    yyjson_val *json;
    yyjson_arr_foreach(markets, i, n, json) {
        if (i >= EXCHANGE_MARKETS_MAX) {
            refusals__over(refusals, n - i);
            return;
        }
        struct exchange_row row = {
            .recorded_wall_ns = page->received_wall_ns,
            .hour_wall_ns = (next - EXCHANGE_HOUR_S) * NS_PER_S,
            .next_change_id = (uint64_t)next,
            .realm = slice__str(page->stream->realm),
            .origin = {.src = EXCHANGE_NAME, .lsn = page->lsn, .ord = (uint32_t)i}};
        struct decode_fault f = {.kind = DECODE_FINE};
        char at[32];
        snprintf(at, sizeof at, "markets[%zu]", i);
        if (!read_market(json, &row, &refusals->rows->n_fields_lost, &f)) {
            refusals__fault(refusals, at, &f, json);
            continue;
        }
        enum quality_reason reason = set_ratios(&row);
        if (reason != QUALITY_OK) {
            refusals__add(refusals, reason, at, "lowest_ratio",
                          yyjson_obj_get(json, "lowest_ratio"), json);
            continue;
        }
        row.league_key = source__league_key(context, row.league);
        struct batch *b =
            rows__batch(refusals->rows, &table_bronze_exchange_events, row.league_key);
        if (b != NULL) tables__exchange_row(b, &row);
    }
}

/* The hours behind the last one that was kept, up to @until, which is there or is the last missing.
 */
static void write_gaps(const struct page *page, int64_t from, int64_t until, bool found,
                       struct refusals *refusals) {
    int64_t n = (until - from) / EXCHANGE_HOUR_S + (found ? 0 : 1);
    for (int64_t i = 0; i < n; i++) {
        if (i >= GAPS_MAX) {
            refusals__over(refusals, (uint64_t)(n - i));
            return;
        }
        struct batch *b = rows__batch(refusals->rows, &table_bronze_exchange_gaps, SLICE_LIT(""));
        if (b == NULL) return;
        const struct exchange_gap_row row = {
            .recorded_wall_ns = page->received_wall_ns,
            .hour_wall_ns = (from + i * EXCHANGE_HOUR_S) * NS_PER_S,
            .next_hour_wall_ns = until * NS_PER_S,
            .realm = slice__str(page->stream->realm),
            .reason = found ? SLICE_LIT("later_hour") : SLICE_LIT("day_missing"),
            .origin = {.src = EXCHANGE_NAME, .lsn = page->lsn, .ord = (uint32_t)i}};
        tables__exchange_gap_row(b, &row);
    }
}

/* @return the hour that had to come next, or 0 when any could. */
static int64_t expected_hour(const struct page *page) {
    int64_t hour;
    if (exchange__hour(page->cursor_from, &hour)) return hour + EXCHANGE_HOUR_S;
    const char *start = strchr(page->stream->kind, '/');
    return start != NULL && exchange__hour(slice__str(start + 1), &hour) ? hour : 0;
}

int exchange__decode(const struct page *page, const struct decode_context *context,
                     struct rows *out, struct err *e) {
    yyjson_doc *doc;
    yyjson_val *markets;
    int64_t next;
    int code = decode__read(page->body, &doc, e);
    if (code != 0) return err__prefixf(e, EXCHANGE_NAME);
    code = exchange__envelope(yyjson_doc_get_root(doc), &next, &markets, e);
    if (code == 0) {
        struct refusals refusals;
        int64_t expected = expected_hour(page), hour = next - EXCHANGE_HOUR_S;
        refusals__init(&refusals, page, EXCHANGE_NAME, table_bronze_exchange_events.name, out);
        walk_markets(page, context, next, markets, &refusals);
        if (expected != 0 && hour >= expected)
            write_gaps(page, expected, hour, yyjson_arr_size(markets) > 0, &refusals);
        refusals__end(&refusals);
        refusals__fini(&refusals);
        if (refusals__rows_failed(out)) {
            code = rows__no_memory(out) ? ERR_NOMEM : ERR_LIMIT;
            rows__fini(out);
            err__setf(e, code, EXCHANGE_NAME ": the rows of one digest do not fit");
        }
    }
    yyjson_doc_free(doc);
    return code;
}
