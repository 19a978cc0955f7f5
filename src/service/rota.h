/* Whose turn it is: what many things need once a second, done for those that need it, a few in a
 * turn of the loop, so that neither a second nor a turn grows with how many there are.
 *
 * A round begins once a second and looks at each in order. One that needs nothing costs a
 * comparison. A round that is not over when the next should begin goes on instead: whoever waits
 * longest comes first, and nobody is passed over. */
#ifndef SOUK_CLI_ROTA_H
#define SOUK_CLI_ROTA_H

#include <stdbool.h>
#include <stddef.h>

#define ROTA_VISITS_MAX 8 /* In a turn. One takes some 10 us, 50 where alerts are raised. */

struct rota {
    size_t at; /* Who is next. */
    bool runs;
};

/** Begins a round, unless one still runs. */
void rota__begin(struct rota *r);
/** Goes on with the round that runs, over @n things (as many as there are now): calls @visit for
 *  the next ROTA_VISITS_MAX that @needs names. @return whether the round is over with that. */
bool rota__go_on(struct rota *r, size_t n, bool (*needs)(void *ctx, size_t i),
                 void (*visit)(void *ctx, size_t i), void *ctx);

#endif
