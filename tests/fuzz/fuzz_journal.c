/* Any bytes as the payload of a PAGE or REQUEST record: refused, or facts that read back as
 * themselves, make rows, and carry a body that decompresses within its bound or not at all. */
#include "souk/journal.h"
#include <assert.h>

#define BODY_MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice payload = slice__of((const char *)data, size), body, rest;
    struct request_facts facts, again;
    if (journal__decode(payload, &facts, &body) != 0) return 0;
    struct buf bytes = buf__init(2 * size + 4096), text = buf__init(2 * BODY_MAX);
    struct rows rows = {0};
    journal__encode(&facts, &bytes);
    assert(!bytes.failed && journal__decode(buf__slice(&bytes), &again, &rest) == 0);
    assert(rest.len == 0 && slice__eq(facts.error, again.error));
    assert(slice__eq(facts.cursor_to, again.cursor_to) && facts.flags == again.flags);
    assert(facts.received_wall_ns == again.received_wall_ns);
    journal__rows(&facts, 1, 2, &rows);
    assert(!rows.failed && rows__count(&rows) >= 1);
    if (journal__decompress(body, BODY_MAX, &text) == 0) assert(text.len <= BODY_MAX);
    else assert(text.len == 0);
    rows__fini(&rows);
    buf__fini(&bytes);
    buf__fini(&text);
    return 0;
}
