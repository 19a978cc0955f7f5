/* A ClickHouse for the store that runs under a clock set by hand and fails as it is told: tables
 * with deduplication windows, replies that are lost or late, exceptions, cut connections, rows that
 * are refused.
 *
 * It stands behind struct store_link_type: store_options.link = &server_model__link, .link_ctx = the
 * model. Requests are answered by server_model__step, when their time has come. A row is known by
 * its columns page and ord; tables have both, and lsn and ord for the store's own questions.
 *
 * What is true of it follows facts measured on servers: a token wins over content; a duplicate is a
 * success; an insert of one block is stored whole or not at all; a constraint is checked before
 * tokens are; the window counts blocks of a table. */
#ifndef SOUK_TESTS_SERVER_MODEL_H
#define SOUK_TESTS_SERVER_MODEL_H

#include "souk/core/clock.h"
#include "souk/store.h"

#define MODEL_TABLES_MAX 8

/** How often of 1,000 requests something happens. */
struct model_odds {
    unsigned lost;     /* Applied, and the reply is lost. */
    unsigned late;     /* No reply; applied some time later. */
    unsigned cut;      /* The connection ends in the middle of the block: nothing is applied. */
    unsigned not_sent; /* It ends before. */
    unsigned refuse;   /* An exception with one of the codes below. */
    unsigned idle_cut; /* Connections that are lost at a step while idle. */
    unsigned rolled_back; /* No reply; the token is remembered and the block is gone. */
    unsigned unproven;    /* An exception after all was sent, and by chance the block is stored, or gone
                             with its token remembered, or was never there. */
};

struct model_row {
    uint64_t page;
    uint32_t ord, n; /* How often it is stored. */
};

struct model_table {
    const struct table_desc *desc;
    size_t window;   /* Blocks; 0: no deduplication. */
    bool missing;    /* The table. */
    int32_t column;  /* Of every insert: an exception's code (16: a column is missing); 0: none. */
    bool type_changed; /* Seen by the client, before it sends. */
    uint32_t ttl_days; /* Rows whose column ts is older are dropped as soon as they come. 0: none. */
    uint64_t n_expired; /* Rows that were. */
    struct model_row *rows; /* Owned; open addressing, n == 0 is free. */
    size_t n_rows, cap;
    char (*tokens)[33]; /* Owned; the newest at n_tokens - 1. */
    size_t n_tokens;
    uint64_t n_inserts, n_duplicates, n_applied;
};

struct server_model {
    const struct clock *clock;
    uint64_t seed;
    struct model_table tables[MODEL_TABLES_MAX];
    size_t n_tables;
    struct model_odds odds;
    bool tells_time;      /* At each check. */
    int64_t off_ns;       /* Its clock less the wall time of @clock. */
    char place[STORE_PLACE_MAX];  /* What it says of its tables. */
    struct server_model *second;  /* The other of two hosts: links fail over to it. NULL: none. Owned by
                                     the test; its links are this one's. */
    bool frozen;                  /* It neither reads nor answers; nobody is told. */
    int64_t delay_max_ns; /* Of a reply; each takes a random part of it. */
    bool down;            /* Nobody listens. */
    int32_t deny;         /* Connections end with this exception (516: password); 0: none. */
    char password[64];    /* "" takes any. Others are denied with 516. */
    size_t memory_rows;   /* Blocks with more rows end with 241; 0: without limit. */
    size_t partition_rows; /* Blocks with more rows have too many partitions; 0: without limit. */
    int32_t code;         /* Of every insert; 0: none. */
    int32_t unproven_code; /* Of the odds' unproven exceptions; 0: any of some. */
    bool from_view;       /* They come from a view behind the table. */
    const char *code_text; /* What @code says; NULL: "refused". */
    uint64_t swallow;     /* So many rows more vanish on their way, and what is left is acknowledged. */
    /** Whether the row is refused with 469. May be NULL. */
    bool (*poison)(void *ctx, const struct table_desc *table, uint64_t page, uint64_t ord);
    /** Told of each row that is stored for the first time. May be NULL. */
    void (*on_row)(void *ctx, const struct table_desc *table, uint64_t page, uint64_t ord);
    void *ctx;
    struct model_link *links; /* Open ones. */
    struct model_late *late;  /* Blocks on their way. */
    uint64_t n_lost, n_late, n_cut, n_refused, n_found, n_poisoned, n_rolled_back, n_unproven, n_pings;
    uint64_t n_asked; /* For a block; n_found of them had it. */
};

extern const struct store_link_type server_model__link;

void server_model__init(struct server_model *m, const struct clock *clock, uint64_t seed,
                        const struct table_desc *const *tables, size_t n_tables);
/** All links are closed. */
void server_model__fini(struct server_model *m);
/** Answers what is due. */
void server_model__step(struct server_model *m);
/** The clients' process is killed: what they sent is applied, or not, by chance. Their links hear
 *  nothing any more; they are closed as ever. */
void server_model__orphan(struct server_model *m);
/** @return when something is due, or INT64_MAX. */
int64_t server_model__next_ns(const struct server_model *m);
struct model_table *server_model__table(struct server_model *m, const struct table_desc *desc);
/** @return how often the row is stored. */
uint32_t server_model__count(struct server_model *m, const struct table_desc *desc, uint64_t page,
                             uint64_t ord);
/** A number below @n from the model's seed. */
uint64_t server_model__random(struct server_model *m, uint64_t n);

#endif
