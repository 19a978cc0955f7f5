#include "rota.h"

void rota__begin(struct rota *r) {
    if (!r->runs) *r = (struct rota){.runs = true};
}

bool rota__go_on(struct rota *r, size_t n, bool (*needs)(void *ctx, size_t i),
                 void (*visit)(void *ctx, size_t i), void *ctx) {
    size_t n_visits = 0;
    for (; r->at < n; r->at++) {
        if (!needs(ctx, r->at)) continue;
        if (n_visits++ == ROTA_VISITS_MAX) return false;
        visit(ctx, r->at);
    }
    r->runs = false;
    return true;
}
