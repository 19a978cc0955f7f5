/* The whole parser, from hello on, whose revision says which. The first byte says how: bit 0
 * compressed, bit 1 packets in chunks and a hello that has been, bits 2 to 7 the size of the
 * pieces. */
#include "packet.h"
#include "profile.h"

#include <stdlib.h>

#include "touch.h"

static void touch_events(const struct chn_block *block) {
    struct chn_profile_event event;
    for (uint64_t row = 0; row <= block->n_rows && row < TOUCH_ROWS; row++)
        chn_profile_event__read(block, row, &event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct chn_parser p;
    struct chn_err err;
    int code = CHN_MORE;
    if (size < 2) return 0;
    size_t piece = data[0] >> 2 == 0 ? size : data[0] >> 2;
    chn_parser__init(&p, CHN_REVISION_MAX, 1 << 20);
    if ((data[0] & 2) != 0) {
        p.seen_hello = true;
        p.compressed = data[0] & 1;
        chn_parser__expect_chunks(&p, &err);
    }
    for (size_t at = 1; at < size && code == CHN_MORE; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        uint8_t *copy = malloc(n); /* On its own, so that a read past the piece is seen. */
        memcpy(copy, data + at, n);
        enum chn_event event;
        code = chn_parser__feed(&p, copy, n, &err);
        while (code == 0 && (code = chn_parser__next(&p, &event, &err)) == 0) {
            if (event == CHN_EVENT_HELLO) p.compressed = data[0] & 1;
            if (event == CHN_EVENT_BLOCK) touch_block(&p.decoder.block);
            if (event == CHN_EVENT_PROFILE_EVENTS) touch_events(&p.side.block);
        }
        free(copy);
    }
    chn_parser__fini(&p);
    return 0;
}
