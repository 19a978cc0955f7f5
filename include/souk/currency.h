/* The words of the market's currencies: the one table that says which words are names. A word is
 * an id of the trade site's static lists, or means one of them: an older id (exa: exalted), or what
 * the game's price dialog writes (excep-ember: exceptional-eldritch-ember). A word that nobody
 * knows is no currency.
 *
 * Pure, static, any thread. */
#ifndef SOUK_CURRENCY_H
#define SOUK_CURRENCY_H

#include "souk/core/slice.h"

#define CURRENCY_ID_MAX 48 /* No id is longer. */
#define CURRENCY_NONE 0u

/** @return the number of the currency that @word means, CURRENCY_NONE when nobody knows it. A word
 *  is found as it is, or as the beginning, of three letters at least, of exactly one currency that
 *  the price dialog offers: the trade site reads exal as exalted. Numbers hold for this build only:
 *  what is kept on a disk is the id. */
uint16_t currency__find(struct slice word);
/** @return the present id of the currency @number, static; "" for CURRENCY_NONE and for numbers
 *  that are none. */
struct slice currency__id(uint16_t number);
/** @return how many numbers there are: all are below. */
uint16_t currency__count(void);

#endif
