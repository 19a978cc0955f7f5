/** Every type there and back: what is inserted is what the server has, and what is read is what it
 * says. */
#ifndef CHN_TESTS_TYPES_H
#define CHN_TESTS_TYPES_H

#include "client.h"

/** Runs all cases on a connection; without @modern those that 18.16 knows. Fails the test that
 * calls it. */
void types__there_and_back(struct client *c, bool modern);

#endif
