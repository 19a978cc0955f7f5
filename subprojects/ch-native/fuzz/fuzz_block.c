/* The block decoder alone, at a revision by the first byte, so that frames' checksums are not
 * in the way. */
#include "block.h"

#include <ch_native/conn.h>

#include <stdlib.h>

#include "touch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    static const uint32_t revisions[] = {54412, 54460, 54465, CHN_REVISION_MAX};
    struct chn_decoder d = {.revision = revisions[data[0] & 3], .bytes_max = 1 << 20};
    struct chn_reader r = {data + 1, data + size};
    struct chn_err err;
    while (r.at < r.end && chn_decoder__feed(&d, &r, &err) == 0) touch_block(&d.block);
    chn_decoder__fini(&d);
    return 0;
}
