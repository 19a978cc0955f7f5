/* POST /api/v1/sources/poll?source=account_stashes[&stream=pc/Standard]: somebody wants it now.
 *
 * Each stream that matches is poked: what its source would do later is due at once, in the class of
 * interactive work. Permits, holds and the lack of a token are as they were, and the answer says
 * so:
 *
 *   {"source":"account_stashes","streams":[{"stream":"pc/Standard","asked":true,"reason":""}]}
 *
 * asked is true when a request waits for its permit or is under way, whoever began it. */
#include "poll_call.h"
#include "../hub/call.h"
#include "../service/app.h"
#include "souk/core/log.h"
#include <stdio.h>

/* Why nothing is asked of @source, which has no stream that runs. */
static int refuse_source(const struct app *a, const char *source, struct buf *out) {
    for (size_t i = 0; i < a->n_sources; i++) {
        if (strcmp(a->sources[i].type->name, source) != 0) continue;
        const char *why = a->sources[i].off_reason;
        return call__refuse(out, 409, "off", why != NULL ? why : "the source is switched off");
    }
    return call__refuse(out, 404, "not_found", "no source has this name");
}

static void poke(struct app_stream *s, bool first, struct buf *out) {
    struct poller_status p;
    poller__poke(s->poller);
    poller__status(s->poller, &p);
    bool asked = p.doing != POLL_IDLE && p.doing != POLL_STOPPED;
    char due[96] = "its source decides when it may ask again";
    if (p.next_mono_ns != INT64_MAX)
        snprintf(due, sizeof due,
                 "not before %.0f s from now: its shortest period, or its token is under way",
                 (double)(p.next_mono_ns - s->app->clock.mono_ns) / (double)NS_PER_S);
    const char *reason = asked                  ? ""
                         : p.done               ? "there is nothing more to ask"
                         : p.last_error[0]      ? p.last_error
                         : p.doing == POLL_IDLE ? due
                                                : "it has ended";
    buf__append_str(out, first ? "{\"stream\":" : ",{\"stream\":");
    buf__json_string(out, slice__str(s->spec.key));
    buf__printf(out, ",\"asked\":%s,\"reason\":", asked ? "true" : "false");
    buf__json_string(out, slice__str(reason));
    buf__append_str(out, "}");
}

static int post_poll(void *ctx, const struct hub_args *args, struct buf *out) {
    struct app *a = ctx;
    char source[64], key[sizeof a->streams->spec.key];
    if (hub_args__text(args, "source", source, sizeof source) <= 0)
        return call__refuse(out, 400, "bad_request",
                            "source is missing: ?source=NAME[&stream=KEY]");
    int n_key = hub_args__text(args, "stream", key, sizeof key);
    if (a->draining || a->closing || !a->recovered)
        return call__refuse(out, 503, "unavailable", "it is starting or ending");
    size_t n = 0, n_source = 0;
    buf__append_str(out, "{\"source\":");
    buf__json_string(out, slice__str(source));
    buf__append_str(out, ",\"streams\":[");
    for (size_t i = 0; i < a->n_streams; i++) {
        struct app_stream *s = &a->streams[i];
        if (strcmp(s->type->name, source) != 0 || s->poller == NULL) continue;
        n_source++;
        if (n_key > 0 && strcmp(s->spec.key, key) != 0) continue;
        poke(s, n++ == 0, out);
    }
    if (n_source == 0) return refuse_source(a, source, out);
    if (n == 0) return call__refuse(out, 404, "not_found", "the source has no stream of this name");
    buf__append_str(out, "]}");
    LOG_INFO("cli", "asked for by hand", LOG_S("source", source), LOG_S("by", hub_args__who(args)),
             LOG_I("streams", (int64_t)n));
    return 200;
}

size_t poll_call__calls(struct app *a, struct hub_call *out) {
    *out = (struct hub_call){"POST", "/api/v1/sources/poll", true, post_poll, a};
    return 1;
}
