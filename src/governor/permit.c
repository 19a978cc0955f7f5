/* The lists that permits are in: flying (granted, oldest first) and ending (to be told no). Those
 * that wait are in the list of their endpoint. */
#include "governor_internal.h"

static void append(struct permit **head, struct permit **tail, struct permit *p) {
    p->next = NULL;
    p->prev = *tail;
    if (*tail == NULL) *head = p;
    else (*tail)->next = p;
    *tail = p;
}

static void take_out(struct permit **head, struct permit **tail, struct permit *p) {
    if (p->prev == NULL) *head = p->next;
    else p->prev->next = p->next;
    if (p->next == NULL) *tail = p->prev;
    else p->next->prev = p->prev;
    p->prev = p->next = NULL;
}

void permit__wait(struct permit *p) {
    struct endpoint *ep = p->endpoint;
    p->where = PERMIT_WAITING;
    append(&ep->head, &ep->tail, p);
    ep->n_waiting++;
    ep->n_waiting_by_class[p->class]++;
    ep->policy->n_waiting_by_class[p->class]++;
}

static void leave(struct governor *g, struct permit *p) {
    if (p->where == PERMIT_WAITING) {
        take_out(&p->endpoint->head, &p->endpoint->tail, p);
        p->endpoint->n_waiting--;
        p->endpoint->n_waiting_by_class[p->class]--;
        p->endpoint->policy->n_waiting_by_class[p->class]--;
    } else if (p->where == PERMIT_FLYING) {
        take_out(&g->flying_head, &g->flying_tail, p);
        p->endpoint->n_inflight--;
        p->endpoint->host->n_inflight--;
        p->endpoint->venue->n_inflight--;
        if (p->head) p->endpoint->venue->heading = NULL;
        p->endpoint->n_tokens -= permit__cost(p);
        p->endpoint->policy->n_inflight -= permit__cost(p);
    } else if (p->where == PERMIT_ENDING) {
        take_out(&g->ending_head, &g->ending_tail, p);
    }
    p->where = PERMIT_IDLE;
}

void permit__fly(struct governor *g, struct permit *p) {
    leave(g, p);
    p->where = PERMIT_FLYING;
    p->granted = true;
    append(&g->flying_head, &g->flying_tail, p);
    p->endpoint->n_inflight++;
    p->endpoint->host->n_inflight++;
    p->endpoint->venue->n_inflight++;
    if (p->head) p->endpoint->venue->heading = p->endpoint;
    p->endpoint->n_tokens += permit__cost(p);
    p->endpoint->policy->n_inflight += permit__cost(p);
}

void permit__land(struct governor *g, struct permit *p) { leave(g, p); }

void permit__end(struct governor *g, struct permit *p, int status) {
    leave(g, p);
    p->where = PERMIT_ENDING;
    p->status = status;
    append(&g->ending_head, &g->ending_tail, p);
}

struct permit *permit__pop_ending(struct governor *g) {
    struct permit *p = g->ending_head;
    if (p != NULL) leave(g, p);
    return p;
}
