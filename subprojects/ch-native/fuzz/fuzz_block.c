/* The block decoder alone, at 54412 or 54460 by the first byte, so that frames' checksums are not
 * in the way. */
#include "block.h"

#include <stdlib.h>

#include "touch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct chn_decoder d = {.revision = data[0] & 1 ? 54460 : 54412, .bytes_max = 1 << 20};
    struct chn_reader r = {data + 1, data + size};
    struct chn_err err;
    while (r.at < r.end && chn_decoder__feed(&d, &r, &err) == 0) touch_block(&d.block);
    chn_decoder__fini(&d);
    return 0;
}
