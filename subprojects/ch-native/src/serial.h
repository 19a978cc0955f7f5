/**
 * Columns whose values are not laid out one after the other. From revision 54465 on a server may
 * say so with a column; what has been read looks like any other column afterwards.
 *
 * Sparse (54465): VarUInts, each the number of default rows before the next row with a value, the
 * last with bit 62 set the number of those behind it; then the values alone. Of a Nullable (54483)
 * the default is NULL, and there is no map of nulls. Replicated (54482): VarUInt rows, the width of
 * an index, the indexes, VarUInt elements, the elements. Detached (54478): VarUInt bytes, and that
 * many of compressed frames, which hold the column as it would be. Sparse and replicated columns
 * can be detached; they are not read on one another. (ClickHouse,
 * docs/en/interfaces/specs/NativeFormat.md.)
 *
 * A few bytes can stand for many rows here: what they become is charged to the block's limit before
 * it is made.
 */
#ifndef CHN_SERIAL_H
#define CHN_SERIAL_H

#include "block.h"

/** Reads how the present column is laid out. @return 0, CHN_MORE, or an error: a layer that this
 * revision does not have, or one that cannot lie where it is. */
int chn_serial__read_kinds(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err);

/** Whether the column comes as a blob of its own. */
bool chn_serial__is_detached(const struct chn_view *view);

/** Reads the present column, which is detached. @return 0, CHN_MORE or an error. */
int chn_serial__read_blob(struct chn_decoder *d, struct chn_reader *r, struct chn_err *err);

/** Reads the outermost layer of @f. @return 0 when it is off and the view is whole, CHN_MORE,
 * CHN_MORE + 1 when it has pushed a view to be read first, or an error. */
int chn_serial__read(struct chn_decoder *d, struct chn_reader *r, struct chn_decode_frame *f,
                     struct chn_err *err);

#endif
