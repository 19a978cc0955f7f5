/* The receiving side of a session: hello, commands, positions. */
#include "json_guard.h"
#include "session.h"
#include "session_internal.h"
#include <inttypes.h>
#include <stdlib.h>

/* Sends what answers a message. Who waits for an answer must not wait for ever: without memory for
 * it, and for a client that does not read, the session ends. */
static void send_answer(struct session *s, const struct buf *text) {
    if (!text->failed && session__send(s, buf__slice(text), 0)) return;
    if (text->failed || s->io->has_room(s->io_ctx, text->len))
        session__close(s, 1011, "out of memory");
    else if (s->io->is_stuck(s->io_ctx)) session__close(s, 4008, "slow consumer");
}

static void send_err(struct session *s, const char *code, const char *msg, bool retry,
                     int64_t retry_after_ms) {
    char text[256], after[48] = "";
    if (retry_after_ms > 0)
        snprintf(after, sizeof after, ",\"retry_after_ms\":%" PRId64, retry_after_ms);
    int n =
        snprintf(text, sizeof text, "{\"t\":\"err\",\"code\":\"%s\",\"msg\":\"%s\",\"retry\":%s%s}",
                 code, msg, retry ? "true" : "false", after);
    send_answer(s, &(struct buf){.base = text, .len = (size_t)n});
}

static struct slice text_of(yyjson_val *obj, const char *key) {
    yyjson_val *v = yyjson_obj_get(obj, key);
    return yyjson_is_str(v) ? slice__of(yyjson_get_str(v), yyjson_get_len(v)) : (struct slice){0};
}

/* @return 0, ERR_MALFORMED or ERR_NOMEM. */
static int read_classes(struct session *s, yyjson_val *classes) {
    yyjson_val *one;
    size_t i, max, n = 0;
    if (!yyjson_is_arr(classes) || yyjson_arr_size(classes) > SESSION_CLASSES_MAX)
        return ERR_MALFORMED;
    yyjson_arr_foreach(classes, i, max, one) {
        if (!yyjson_is_str(one) || yyjson_get_len(one) >= sizeof *s->classes) return ERR_MALFORMED;
        if (yyjson_equals_str(one, "*")) return 0;
    }
    if (max == 0) return 0;
    if ((s->classes = calloc(max, sizeof *s->classes)) == NULL) return ERR_NOMEM;
    yyjson_arr_foreach(classes, i, max, one)
        memcpy(s->classes[n++], yyjson_get_str(one), yyjson_get_len(one) + 1);
    s->n_classes = n;
    return 0;
}

/* @return 0, ERR_MALFORMED or ERR_NOMEM. */
static int read_sub(struct session *s, yyjson_val *sub) {
    if (sub == NULL) return 0;
    if (!yyjson_is_obj(sub)) return ERR_MALFORMED;
    struct slice sev = text_of(sub, "sev");
    if (slice__eq(sev, SLICE_LIT("critical"))) s->sev_min = ALERT_CRITICAL;
    else if (slice__eq(sev, SLICE_LIT("warning"))) s->sev_min = ALERT_WARNING;
    else if (sev.len > 0 && !slice__eq(sev, SLICE_LIT("info"))) return ERR_MALFORMED;
    yyjson_val *classes = yyjson_obj_get(sub, "class");
    return classes == NULL ? 0 : read_classes(s, classes);
}

static bool read_offset(yyjson_val *v, uint64_t *out) {
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) >= UINT64_C(1) << 53) return false;
    *out = yyjson_get_uint(v);
    return true;
}

static void on_hello(struct session *s, yyjson_val *root) {
    struct slice ticket = text_of(root, "ticket");
    if (!s->who.read && (ticket.len == 0 || s->all->redeem == NULL ||
                         !s->all->redeem(s->all->ctx, ticket, &s->who))) {
        send_err(s, "unauthenticated", "a token or a ticket is needed", false, 0);
        session__close(s, 4401, "unauthenticated");
        return;
    }
    yyjson_val *resume = yyjson_obj_get(root, "resume");
    uint64_t off = 0;
    bool has_off = yyjson_is_obj(resume);
    int code = read_sub(s, yyjson_obj_get(root, "sub"));
    if (code == ERR_NOMEM) {
        session__close(s, 1011, "out of memory");
        return;
    }
    if (code != 0 || (resume != NULL && !has_off && !yyjson_is_null(resume)) ||
        (has_off && !read_offset(yyjson_obj_get(resume, "off"), &off))) {
        send_err(s, "bad_request", "hello: sub or resume is not as alerts.v1 says", false, 0);
        session__close(s, 4400, "bad hello");
        return;
    }
    session__start(s, text_of(resume, "epoch"), off, has_off);
}

static void send_res(struct session *s, int64_t id, struct slice members) {
    struct buf text = buf__init(64 << 10);
    buf__printf(&text, "{\"t\":\"res\",\"re\":%" PRId64 ",", id);
    buf__append_slice(&text, members);
    buf__append_str(&text, "}");
    send_answer(s, &text);
    buf__fini(&text);
}

static void on_result(void *data, bool ok, struct slice result) {
    (void)ok;
    struct session_command *c = data;
    struct session *s = c->session;
    struct session_command **at = &s->commands;
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    s->n_commands--;
    if (s->state != SESSION_DONE) send_res(s, c->id, result);
    free(c);
}

static void on_cmd(struct session *s, yyjson_val *root) {
    yyjson_val *id = yyjson_obj_get(root, "id"), *args = yyjson_obj_get(root, "args");
    if (!yyjson_is_int(id) || yyjson_get_sint(id) < 0 || yyjson_get_sint(id) >= INT64_C(1) << 53) {
        send_err(s, "bad_request", "cmd needs an integer id", false, 0);
        return;
    }
    if (!s->who.write) {
        send_res(s, yyjson_get_sint(id),
                 SLICE_LIT("\"ok\":false,\"err\":{\"code\":\"forbidden\",\"msg\":\"alerts:write is "
                           "needed\",\"retry\":false}"));
        return;
    }
    struct session_command *c = s->n_commands < SESSION_COMMANDS_MAX ? calloc(1, sizeof *c) : NULL;
    if (c == NULL) {
        send_err(s, "rate_limited", "too many commands wait for an answer", true, 1000);
        return;
    }
    *c = (struct session_command){.session = s, .next = s->commands, .id = yyjson_get_sint(id)};
    s->commands = c;
    s->n_commands++;
    size_t len = 0;
    char *text = args == NULL ? NULL : yyjson_val_write(args, 0, &len);
    if (args != NULL && text == NULL) { /* Nothing ran, so it may be sent again. */
        on_result(c, false,
                  SLICE_LIT("\"ok\":false,\"err\":{\"code\":\"unavailable\",\"msg\":\"out of "
                            "memory\",\"retry\":true}"));
        return;
    }
    struct alert_command command = {.principal = slice__str(s->who.name),
                                    .key = text_of(root, "key"),
                                    .op = text_of(root, "op"),
                                    .args = text == NULL ? SLICE_LIT("{}") : slice__of(text, len)};
    alerts__command(s->all->alerts, &command, on_result, c);
    free(text);
}

static void on_pos(struct session *s, yyjson_val *root) {
    uint64_t off = 0, top = alerts__top(s->all->alerts);
    if (read_offset(yyjson_obj_get(root, "off"), &off) && off <= top)
        series__observe(s->all->m_lag, (double)(top - off));
}

/* @return false when the message is over the rate and was answered. */
static bool take_token(struct session *s) {
    int64_t now_ns = s->all->clock->mono_ns;
    double rate = s->all->messages_per_s, burst = sessions__burst(s->all);
    s->tokens += (double)(now_ns - s->tokens_mono_ns) / (double)NS_PER_S * rate;
    if (s->tokens > burst) s->tokens = burst;
    s->tokens_mono_ns = now_ns;
    if (s->tokens >= 1) {
        s->tokens -= 1;
        s->n_over = 0;
        return true;
    }
    char msg[48];
    snprintf(msg, sizeof msg, "%g msg/s", rate);
    if (++s->n_over > (unsigned)burst) session__close(s, 4029, "too many messages");
    else send_err(s, "rate_limited", msg, true, (int64_t)((1 - s->tokens) * 1000 / rate) + 1);
    return false;
}

void session__on_text(struct session *s, struct slice text) {
    if (s->state == SESSION_DONE || !take_token(s)) return;
    bool first = s->state == SESSION_HELLO;
    if (text.len > SESSION_MESSAGE_MAX) {
        send_err(s, "too_large", "a message has at most 4096 bytes", false, 0);
        if (first) session__close(s, 4400, "bad hello");
        return;
    }
    yyjson_doc *doc = json_guard__read(text);
    yyjson_val *root = yyjson_doc_get_root(doc);
    struct slice t = text_of(root, "t");
    if (doc == NULL) {
        send_err(s, "bad_json", "not a JSON object within our bounds", false, 0);
        if (first) session__close(s, 4400, "bad hello");
    } else if (first) {
        if (slice__eq(t, SLICE_LIT("hello"))) on_hello(s, root);
        else session__close(s, 4400, "the first message must be hello");
    } else if (slice__eq(t, SLICE_LIT("cmd"))) {
        on_cmd(s, root);
    } else if (slice__eq(t, SLICE_LIT("pos"))) {
        on_pos(s, root);
    } else if (slice__eq(t, SLICE_LIT("hello")) || t.len == 0) {
        send_err(s, "bad_request", "hello comes once, and every message has a t", false, 0);
    } /* Unknown t: a newer client; ignored. */
    yyjson_doc_free(doc);
}
