/* The block decoder alone, at a revision by the first byte, so that frames' checksums are not in the
 * way. */
#include "block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    static const uint32_t revisions[] = {54412, 54460, 54465, 54488};
    struct chn_decoder d = {.revision = revisions[data[0] & 3], .bytes_max = 1 << 20};
    struct chn_reader r = {data + 1, data + size};
    struct chn_err err;
    while (r.at < r.end && chn_decoder__feed(&d, &r, &err) == 0) {
        char text[256];
        for (size_t i = 0; i < chn_block__n_columns(&d.block); i++)
            for (uint64_t row = 0; row <= chn_block__n_rows(&d.block) && row < 64; row++)
                chn_view__text(chn_block__column(&d.block, i), row, text, sizeof text);
    }
    chn_decoder__fini(&d);
    return 0;
}
