/* What the files of this room share. */
#ifndef SOUK_STORE_INTERNAL_H
#define SOUK_STORE_INTERNAL_H

#include "souk/batcher.h"

/** Fills seal->token from its other fields and the id of the spool that holds its rows. */
void seal__make_token(struct seal *seal, const char *store_id);

#endif
