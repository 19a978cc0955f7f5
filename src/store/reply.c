/* What an exception of ClickHouse means for the batch. Codes: its src/Common/ErrorCodes.cpp. */
#include "store_internal.h"
#include <stddef.h>
#include <string.h>

static bool is_of(int32_t code, const int32_t *codes, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (codes[i] == code) return true;
    return false;
}

/* Columns, tables, settings, rights, passwords: what waiting alone does not mend. */
static const int32_t configuration[] = {8,  10, 16,  20,  44,  47,  50,  53,  60, 62,
                                        81, 82, 115, 164, 192, 193, 194, 497, 516};
/* Conversions, bounds, constraints, functions that throw: what a row is to blame for. */
static const int32_t data[] = {6,   26,  27,  33,  38,  41,  43,  48,  69,  70, 72,
                               117, 131, 153, 321, 349, 368, 395, 407, 469, 691};

enum reply_class store_reply__class(const struct store_reply *r) {
    if (r->outcome == STORE_STORED || r->code == 389) return REPLY_STORED; /* Deduplicated. */
    if (r->schema) return REPLY_CONFIGURATION;
    if (r->outcome != STORE_REJECTED) return REPLY_RETRY;
    if (r->code == 241) return REPLY_MEMORY;
    if (r->code == 202) return REPLY_BUSY; /* Too many queries at once. */
    /* One code for too many parts, of a partition or "in all partitions in total", which merges
     * mend, and for too many partitions in one block. */
    if (r->code == 252)
        return strstr(r->text, "partitions for single INSERT") != NULL ? REPLY_PARTITIONS
                                                                       : REPLY_PARTS;
    if (is_of(r->code, configuration, sizeof configuration / sizeof *configuration))
        return REPLY_CONFIGURATION;
    if (is_of(r->code, data, sizeof data / sizeof *data)) return REPLY_DATA;
    return REPLY_RETRY;
}

bool exception_is_from_view(const char *message, size_t size) {
    /* The server says so at the end; what was cut is not known. */
    return strstr(message, "pushing to view") != NULL || strlen(message) + 1 >= size;
}

bool store_reply__proves_refusal(const struct store_reply *r) {
    /* A spent quota, too many queries, too many parts or partitions: asked before a block is
     * written. What is not here can come when a block is there and its reply is not sent yet
     * (memory, time, a cancelled query), or when it is neither there nor gone (319). */
    static const int32_t early[] = {201, 202, 252};
    if (r->outcome != STORE_REJECTED || r->from_view) return false;
    return is_of(r->code, early, sizeof early / sizeof *early) ||
           is_of(r->code, configuration, sizeof configuration / sizeof *configuration) ||
           is_of(r->code, data, sizeof data / sizeof *data);
}
