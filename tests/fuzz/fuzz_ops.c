/* Any bytes as an OPS record: rows of tables about souk itself, or a quarantine row that says why. */
#include "souk/ops_rows.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct spool_record rec = {.lsn = 1, .next_lsn = 2, .type = SPOOL_OPS,
                                     .payload = slice__of((const char *)data, size)};
    struct rows rows = {0};
    int status = ops_rows__make(&rec, &rows);
    assert(status == 0 || status == ERR_NOMEM || rows__count(&rows) == 1);
    rows__fini(&rows);
    return 0;
}
