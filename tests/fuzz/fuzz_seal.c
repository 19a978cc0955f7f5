/* Any bytes as the payload of a SEAL record: refused, or a seal that reads back as itself. */
#include "souk/batcher.h"
#include "../../src/store/store_internal.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct seal seal, again;
    struct buf bytes = buf__init(1024);
    if (seal__decode(slice__of((const char *)data, size), &seal) == 0) {
        assert(strlen(seal.table) < sizeof seal.table && strlen(seal.token) < sizeof seal.token);
        /* A zero inside a name ends it; what is left must be stable. */
        seal__encode(&seal, &bytes);
        assert(!bytes.failed && seal__decode(buf__slice(&bytes), &again) == 0);
        assert(strcmp(seal.table, again.table) == 0 && strcmp(seal.part, again.part) == 0);
        assert(strcmp(seal.token, again.token) == 0 && strcmp(seal.hash, again.hash) == 0);
        assert(seal.day == again.day && seal.n_rows == again.n_rows);
        assert(seal.first_lsn == again.first_lsn && seal.last_lsn == again.last_lsn);
        struct clock clock = {0};
        struct batcher_options options = {.store_id = "fuzz", .rows_max = 10, .bytes_max = 1000};
        struct batcher b;
        if (batcher__init(&b, &clock, &options) == 0 && batcher__recover_seal(&b, &seal) == 0) {
            batcher__recover_ack(&b, seal.token);
            assert(batcher__recover_seal(&b, &seal) == 0); /* Twice is once. */
            assert(batcher__low_water(&b) == 0);
        }
        batcher__fini(&b);
    }
    buf__fini(&bytes);
    return 0;
}
