/* How a call says no: {"error":{"code":"not_found","msg":"..."}}. */
#include "call.h"

int call__refuse(struct buf *out, int status, const char *code, const char *msg) {
    buf__clear(out);
    buf__append_str(out, "{\"error\":{\"code\":");
    buf__json_string(out, slice__str(code));
    buf__append_str(out, ",\"msg\":");
    buf__json_string(out, slice__str(msg));
    buf__append_str(out, "}}");
    return status;
}
