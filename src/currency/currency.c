/* Looking words up: a binary search in one sorted table. A currency's number is the place of its id
 * in it, counted from 1. */
#include "souk/currency.h"
#include <assert.h>

struct word {
    const char *text, *id; /* id NULL: it is one itself. */
    uint8_t len;
    bool offered; /* By the price dialog. */
};

#define W(text)                                                                                    \
    { text, NULL, sizeof(text) - 1, false }
#define D(text)                                                                                    \
    { text, NULL, sizeof(text) - 1, true }
#define IS(text, id)                                                                               \
    { text, id, sizeof(text) - 1, false }
#define D_IS(text, id)                                                                             \
    { text, id, sizeof(text) - 1, true }
static const struct word words[] = {
#include "words.inc"
};
enum { N_WORDS = sizeof words / sizeof *words, SHORT_MIN = 3 };
_Static_assert(N_WORDS < UINT16_MAX, "numbers have 16 bits");

/* @return the place of the first word that is not below @text. */
static size_t place_of(struct slice text) {
    size_t low = 0, high = N_WORDS;
    while (low < high) {
        size_t mid = low + (high - low) / 2, len = words[mid].len;
        int order = memcmp(words[mid].text, text.base, len < text.len ? len : text.len);
        if (order < 0 || (order == 0 && len < text.len)) low = mid + 1;
        else high = mid;
    }
    return low;
}

static bool starts_with(const struct word *w, struct slice text) {
    return w->len >= text.len && memcmp(w->text, text.base, text.len) == 0;
}

/* @return the number of the currency that the word at @at means. */
static uint16_t number_at(size_t at) {
    if (words[at].id == NULL) return (uint16_t)(at + 1);
    size_t id = place_of(slice__str(words[at].id));
    assert(id < N_WORDS && words[id].id == NULL);
    return (uint16_t)(id + 1);
}

uint16_t currency__find(struct slice word) {
    uint16_t found = CURRENCY_NONE;
    if (word.len == 0 || word.len > CURRENCY_ID_MAX) return CURRENCY_NONE;
    size_t at = place_of(word);
    if (at < N_WORDS && words[at].len == word.len && starts_with(&words[at], word))
        return number_at(at);
    if (word.len < SHORT_MIN) return CURRENCY_NONE;
    for (; at < N_WORDS && starts_with(&words[at], word); at++) {
        if (!words[at].offered) continue;
        if (found != CURRENCY_NONE) return CURRENCY_NONE; /* It may be either. */
        found = number_at(at);
    }
    return found;
}

struct slice currency__id(uint16_t number) {
    if (number == CURRENCY_NONE || number > N_WORDS || words[number - 1].id != NULL)
        return SLICE_LIT("");
    return slice__of(words[number - 1].text, words[number - 1].len);
}

uint16_t currency__count(void) { return N_WORDS + 1; }
