/* The descriptor of silver_listing_events and its writer. The order of the columns is the order of
 * the batch__ calls; batch.c asserts that they agree. */
#include "souk/listing_row.h"
#include "souk/core/clock.h"
#include <assert.h>

#define N_OF(a) (sizeof(a) / sizeof(*(a)))
#define TIME "DateTime64(3, 'UTC')", COLUMN_I64
#define WORD "LowCardinality(String)", COLUMN_STR
#define TEXT "String", COLUMN_STR
#define PRICE "Decimal(18, 6)", COLUMN_I64
#define U32 "UInt32", COLUMN_U32
#define U64 "UInt64", COLUMN_U64

static const struct column_desc columns[] = {
    {"ts", TIME},
    {"realm", WORD},
    {"league", WORD},
    {"league_key", WORD},
    {"stash_id", TEXT},
    {"listing_id", TEXT},
    {"seller", TEXT},
    {"item_key", U64},
    {"fingerprint", U64},
    {"key_version", "UInt8", COLUMN_U8},
    {"kind", WORD},
    {"price_currency", WORD},
    {"price_amount", PRICE},
    {"price_before", PRICE},
    {"price_chaos", PRICE},
    {"price_divine", PRICE},
    {"stack_size", U32},
    {"stack_before", U32},
    {"listing_ts", TIME},
    {"delist_ts", TIME},
    {"delist_reason", WORD},
    {"removal", WORD},
    {"sold_probability", "Float64", COLUMN_F64},
    {"retracts", TEXT},
    {"from_ts", TIME},
    {"to_ts", TIME},
    {"cursor", TEXT},
    {"src", WORD},
    {"lsn", U64},
    {"ord", U32},
};

const struct table_desc table_silver_listing_events = {
    .name = "silver_listing_events",
    .columns = columns,
    .n_columns = N_OF(columns),
    .derived = true,
};

const char *listing__kind(enum tape_kind kind) {
    static const char *const words[] = {
        [TAPE_LISTED] = "listed",     [TAPE_REPRICED] = "repriced", [TAPE_RESTACKED] = "restacked",
        [TAPE_DELISTED] = "delisted", [TAPE_MOVED] = "moved",       [TAPE_RELISTED] = "relisted",
    };
    assert((size_t)kind < N_OF(words));
    return words[kind];
}

const char *listing__removal(enum tape_removal removal) {
    static const char *const words[] = {
        [TAPE_NOT_REMOVED] = "",
        [TAPE_SOLD_NEAR] = "sold_near",
        [TAPE_SOLD_OFF] = "sold_off",
        [TAPE_UNPRICED] = "unpriced",
        [TAPE_FEW] = "few",
        [TAPE_BULK] = "bulk",
        [TAPE_UNLISTED] = "unlisted",
        [TAPE_MOVED_AWAY] = "moved_away",
        [TAPE_CATCHING_UP] = "catching_up",
        [TAPE_PART] = "part",
    };
    assert((size_t)removal < N_OF(words));
    return words[removal];
}

const char *listing__reason(const struct tape_event *event) {
    if (event->kind != TAPE_DELISTED) return "";
    if (event->removal == TAPE_UNLISTED) return "stash_private";
    if (event->removal == TAPE_MOVED_AWAY) return "moved";
    return event->sold_probability >= 0.5 ? "sold_likely" : "unknown";
}

static void write_time(struct batch *b, int64_t wall_ns) { batch__i64(b, wall_ns / NS_PER_MS); }

void listing__row(struct batch *b, const struct tape_event *e, struct slice league_key,
                  struct slice cursor, const struct row_origin *origin) {
    batch__begin(b);
    write_time(b, e->to_wall_ns);
    batch__str(b, e->realm);
    batch__str(b, e->league);
    batch__str(b, league_key);
    batch__cstr(b, e->stash_id);
    batch__cstr(b, e->listing_id);
    batch__str(b, e->seller);
    batch__u64(b, e->item_key);
    batch__u64(b, e->fingerprint);
    batch__u8(b, (uint8_t)e->key_version);
    batch__cstr(b, listing__kind(e->kind));
    batch__str(b, e->currency);
    batch__i64(b, e->price_e6);
    batch__i64(b, e->price_before_e6);
    batch__i64(b, 0); /* No rate is known here: a function of the log has no market data. */
    batch__i64(b, 0);
    batch__u32(b, e->stack_size);
    batch__u32(b, e->stack_before);
    write_time(b, e->listed_wall_ns);
    write_time(b, e->kind == TAPE_DELISTED ? e->to_wall_ns : 0);
    batch__cstr(b, listing__reason(e));
    batch__cstr(b, listing__removal(e->removal));
    batch__f64(b, e->sold_probability);
    batch__cstr(b, e->retracts);
    write_time(b, e->from_wall_ns);
    write_time(b, e->to_wall_ns);
    batch__str(b, cursor);
    batch__cstr(b, origin->src);
    batch__u64(b, origin->lsn);
    batch__u32(b, origin->ord);
    batch__end(b);
}
