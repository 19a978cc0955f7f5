/* Feeds bytes of a WebSocket client to the reader, split where the input says, and its messages to
 * a session with an alerts room behind it. */
#include "session.h"
#include "ws_reader.h"
#include <stdlib.h>

static bool io_send(void *ctx, struct frame *frame, uint64_t off) {
    (void)ctx, (void)frame, (void)off;
    return true;
}
static bool io_has_room(void *ctx, size_t len) {
    (void)ctx, (void)len;
    return true;
}
static bool io_is_stuck(void *ctx) {
    (void)ctx;
    return false;
}
static void io_close(void *ctx, int code, const char *reason) {
    (void)ctx, (void)code, (void)reason;
}
static const struct session_io io = {io_send, io_has_room, io_is_stuck, io_close};

static void on_text(void *data, struct slice text) { session__on_text(data, text); }
static void on_ping(void *data, struct slice payload) { (void)data, (void)payload; }
static void on_close(void *data, int code) { (void)data, (void)code; }
static const struct ws_reader_events events = {on_text, on_ping, on_close};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static struct clock now = {.mono_ns = NS_PER_S, .wall_ns = INT64_C(1795219000000) * NS_PER_MS};
static struct metrics metrics;
static struct alerts *alerts;
static struct sessions sessions;

static void start(void) {
    struct err e;
    struct alerts_options options = {.seed = 1};
    struct alert_signal signal = {
        .class = "drift", .sev = ALERT_WARNING, .title = "t", .body = "b"};
    metrics__init(&metrics);
    if (alerts__open(&alerts, &now, &metrics, &options, &e) != 0) abort();
    sessions__init(&sessions, alerts, &now, &metrics);
    alerts__raise(alerts, &signal);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct principal who = {.read = true, .write = true, .name = "fuzz"};
    struct session session;
    struct ws_reader reader;
    if (alerts == NULL) start();
    if (n < 1) return 0;
    ws_reader__init(&reader, 16384);
    session__open(&session, &sessions, &who, &io, &session);
    size_t step = bytes[0] + 1u; /* Where it is split. */
    for (size_t at = 1; at < n; at += step) {
        size_t len = n - at < step ? n - at : step;
        ws_reader__feed(&reader, slice__of((const char *)bytes + at, len), &events, &session);
    }
    session__fini(&session, 1006);
    ws_reader__fini(&reader);
    now.mono_ns += NS_PER_S;
    now.wall_ns += NS_PER_S;
    alerts__tick(alerts);
    return 0;
}
