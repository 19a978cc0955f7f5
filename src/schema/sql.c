/* Cutting our own SQL into statements; it is trusted, and no more than what migrations hold. */
#include "sql.h"

const char *sql__statement_end(const char *p) {
    for (char quote = 0; *p != '\0'; p++) {
        if (quote != 0) {
            if (*p == '\\' && p[1] != '\0') p++;
            else if (*p == quote) quote = 0;
        } else if (*p == '\'' || *p == '`' || *p == '"') {
            quote = *p;
        } else if (p[0] == '-' && p[1] == '-') {
            while (p[1] != '\0' && p[1] != '\n') p++;
        } else if (*p == ';') {
            return p;
        }
    }
    return p;
}

const char *sql__skip_blank(const char *p, const char *end) {
    while (p < end) {
        if (end - p > 1 && p[0] == '-' && p[1] == '-') {
            while (p < end && *p != '\n') p++;
        } else if (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r') {
            p++;
        } else {
            break;
        }
    }
    return p;
}

bool sql__next(const char **at, struct slice *statement) {
    while (**at != '\0') {
        const char *end = sql__statement_end(*at), *start = sql__skip_blank(*at, end);
        *at = *end == ';' ? end + 1 : end;
        if (start == end) continue;
        *statement = slice__of(start, (size_t)(end - start));
        return true;
    }
    return false;
}
