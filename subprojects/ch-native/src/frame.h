/**
 * Compressed frames: 16 bytes CityHash128 of all that follows, one byte method, u32 size of these
 * nine bytes and the payload, u32 size of the plain bytes, payload. A frame never spans two blocks;
 * a block may span many frames.
 */
#ifndef CHN_FRAME_H
#define CHN_FRAME_H

#include "wire.h"

#include <ch_native/conn.h>
#include <ch_native/limits.h>

enum {
    CHN_FRAME_HEADER_BYTES = 25,
    CHN_FRAME_PLAIN_MAX = 1 << 20, /* Of frames that we make. */
    CHN_FRAME_PLAIN_ACCEPTED = CHN_FRAME_BYTES_MAX,
};

extern const uint8_t chn_frame_empty_block[36]; /* The empty block as an LZ4 frame. */

/**
 * Appends @plain as frames of at most 1 MiB each. @method is CHN_LZ4 or CHN_ZSTD, @level ZSTD's (0
 * is 1). @return 0 or CHN_ERR_MEMORY.
 */
int chn_frame__compress(struct chn_buf *out, const struct chn_slice *plain, size_t n_slices,
                        enum chn_compression method, int level);

/**
 * Takes one frame off @r and appends its plain bytes to @out.
 * @return 0, CHN_MORE, or an error with @err filled: a size over its limit, a checksum that
 * differs, a payload that is not what its method says. The memory that @out takes is the plain size
 * that the frame claims, at most CHN_FRAME_PLAIN_ACCEPTED, once its checksum was right.
 */
int chn_frame__read(struct chn_reader *r, struct chn_buf *out, struct chn_err *err);

#endif
