/* See fault.h. */
#include "fault.h"

#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "limiter.h"

static const char *const kind_names[FAULT_N_KINDS] = {
    [FAULT_STATUS] = "status",
    [FAULT_STALL] = "stall",
    [FAULT_SLOW] = "slow",
    [FAULT_TRUNCATE] = "truncate",
    [FAULT_RESET] = "reset",
    [FAULT_BAD_JSON] = "bad_json",
    [FAULT_WRONG_TYPE] = "wrong_type",
    [FAULT_HTML200] = "html200",
    [FAULT_EMPTY_OBJECT] = "empty_object",
    [FAULT_REWIND] = "rewind",
    [FAULT_REPEAT] = "repeat",
    [FAULT_GZIP_BOMB] = "gzip_bomb",
    [FAULT_BIG_HEADER] = "big_header",
    [FAULT_DROP_HEADERS] = "drop_headers",
    [FAULT_LIMITS] = "limits",
    [FAULT_PHANTOM] = "phantom",
    [FAULT_POLICY] = "policy",
    [FAULT_BAD_PRICE] = "bad_price",
};
static const char *const targets[] = {"psapi",   "poe_ninja",         "trade_data",
                                      "oauth",   "currency_exchange", "account_stashes",
                                      "leagues", "enrichment",        "*"};

const char *fault__kind_name(enum fault_kind kind) { return kind_names[kind]; }

static bool copy_text(yyjson_val *v, char out[FAULT_TEXT_MAX]) {
    if (yyjson_get_len(v) >= FAULT_TEXT_MAX || strpbrk(yyjson_get_str(v), "\r\n") != NULL)
        return false;
    memcpy(out, yyjson_get_str(v), yyjson_get_len(v) + 1);
    return true;
}

static int parse_value(struct fault *f, yyjson_val *root, struct sim_err *e) {
    yyjson_val *v = yyjson_obj_get(root, "value"), *retry = yyjson_obj_get(root, "retry_after");
    f->value = -1;
    if (yyjson_is_obj(v)) {
        if (yyjson_is_str(yyjson_obj_get(v, "retry_after")))
            retry = yyjson_obj_get(v, "retry_after");
        v = yyjson_obj_get(v, "status");
    }
    if (yyjson_is_str(v)) {
        if (!copy_text(v, f->text))
            return sim_err__setf(e, "fault: \"value\" is too long or has a line break");
    } else if (yyjson_is_int(v)) {
        f->value = yyjson_get_sint(v);
        if (f->value < 0 || f->value > (INT64_C(1) << 31))
            return sim_err__setf(e, "fault: \"value\" is out of range");
    } else if (v != NULL) {
        return sim_err__setf(e, "fault: \"value\" is neither a number nor a string");
    }
    if (yyjson_is_str(retry) && !copy_text(retry, f->text))
        return sim_err__setf(e, "fault: \"retry_after\" is too long or has a line break");
    if (f->kind == FAULT_STATUS && f->value == -1) f->value = 500;
    if (f->kind == FAULT_STATUS && (f->value < 400 || f->value > 599))
        return sim_err__setf(e, "fault: a status is 400 to 599");
    if (f->kind == FAULT_LIMITS && f->text[0] == '\0')
        return sim_err__setf(e, "fault: limits want \"value\":\"a:b:c\"");
    if (f->kind == FAULT_PHANTOM && f->value > LIMITER_HITS_MAX)
        return sim_err__setf(e, "fault: at most %d phantoms", LIMITER_HITS_MAX);
    if (f->kind == FAULT_POLICY && (f->text[0] == '\0' || strlen(f->text) > 63))
        return sim_err__setf(e, "fault: policy wants \"value\":\"name\"");
    if (f->kind == FAULT_GZIP_BOMB && f->value > 1024)
        return sim_err__setf(e, "fault: a bomb has at most 1024 MiB");
    if (f->kind == FAULT_BIG_HEADER && f->value > 16 << 20)
        return sim_err__setf(e, "fault: a header has at most 16 MiB");
    if (f->kind == FAULT_SLOW && f->value == 0)
        return sim_err__setf(e, "fault: slow wants at least 1 byte a second");
    return 0;
}

int fault__parse(struct fault *f, struct span json, int64_t now_ns, struct sim_err *e) {
    yyjson_doc *doc = yyjson_read(json.at, json.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *v;
    const char *target = yyjson_get_str(yyjson_obj_get(root, "target"));
    const char *kind = yyjson_get_str(yyjson_obj_get(root, "kind"));
    int rc = -1;
    memset(f, 0, sizeof *f);
    f->count = -1;
    f->kind = FAULT_N_KINDS;
    for (size_t i = 0; target != NULL && i < sizeof targets / sizeof targets[0]; i++)
        if (strcmp(targets[i], target) == 0) snprintf(f->target, sizeof f->target, "%s", target);
    for (int i = 0; kind != NULL && i < FAULT_N_KINDS; i++)
        if (strcmp(kind_names[i], kind) == 0) f->kind = (enum fault_kind)i;
    if (!yyjson_is_obj(root)) {
        sim_err__setf(e, "fault: the body is not a JSON object");
    } else if (f->target[0] == '\0') {
        sim_err__setf(e, "fault: \"target\" is none of psapi, poe_ninja, trade_data, oauth, "
                         "currency_exchange, account_stashes, leagues, enrichment, *");
    } else if (f->kind == FAULT_N_KINDS) {
        sim_err__setf(e, "fault: \"kind\" \"%s\" is unknown", kind != NULL ? kind : "");
    } else {
        v = yyjson_obj_get(root, "count");
        if (yyjson_is_uint(v)) f->count = (int64_t)(yyjson_get_uint(v) & INT64_MAX);
        v = yyjson_obj_get(root, "for_ms");
        if (yyjson_is_uint(v))
            f->until_ns = now_ns + (int64_t)(yyjson_get_uint(v) % 1000000000) * SIM_NS_PER_MS;
        rc = parse_value(f, root, e);
    }
    yyjson_doc_free(doc);
    return rc;
}

int faults__add(struct faults *all, const struct fault *f, struct sim_err *e) {
    if (all->n == FAULTS_MAX) return sim_err__setf(e, "fault: %d wait already", FAULTS_MAX);
    all->at[all->n++] = *f;
    return 0;
}

bool faults__take(struct faults *all, const char *target, int64_t now_ns, struct fault *out) {
    size_t kept = 0;
    bool found = false;
    for (size_t i = 0; i < all->n; i++) {
        struct fault *f = &all->at[i];
        if (f->count == 0 || (f->until_ns != 0 && now_ns >= f->until_ns))
            continue; /* Spent: it falls out. */
        if (!found && (strcmp(f->target, "*") == 0 || strcmp(f->target, target) == 0)) {
            found = true;
            *out = *f;
            if (f->count > 0) f->count--;
        }
        if (f->count != 0) all->at[kept++] = *f;
    }
    all->n = kept;
    all->n_done += found;
    return found;
}
