/* Rules and their counts. Rules judge numbers that are already decoded; the counts are read back
 * from the quarantine rows, so that they cannot differ from what is stored. */
#include "souk/quality.h"
#include "souk/core/clock.h"
#include <assert.h>
#include <math.h>

#define QUALITY_TEXT(code, text) text,
static const char *const reason_texts[] = {QUALITY_REASONS(QUALITY_TEXT)};
static const char *const price_texts[] = {QUALITY_PRICE_VERDICTS(QUALITY_TEXT)};
_Static_assert((unsigned)PRICE__N <= ROWS_REASONS_MAX, "rows count every verdict");

/* 2013-01-23T00:00:00Z. Nothing that we ask for is older. */
#define EPOCH_WALL_NS (INT64_C(1358899200) * NS_PER_S)
#define AHEAD_MAX_NS (60 * NS_PER_S)

const char *quality__text(enum quality_reason reason) {
    assert(reason < QUALITY__N);
    return reason_texts[reason];
}

enum quality_reason quality__find(struct slice text) {
    for (unsigned i = 0; i < QUALITY__N; i++)
        if (slice__eq(slice__str(reason_texts[i]), text)) return (enum quality_reason)i;
    return QUALITY__N;
}

enum quality_reason quality__value(double value) {
    bool good = isfinite(value) && value > 0 && value <= QUALITY_VALUE_MAX;
    return good ? QUALITY_OK : QUALITY_BAD_PRICE;
}

enum quality_reason quality__size(double size) {
    return isfinite(size) && size >= 0 ? QUALITY_OK : QUALITY_BAD_SIZE;
}

enum quality_reason quality__time(int64_t claimed_wall_ns, int64_t wall_ns) {
    bool good = claimed_wall_ns >= EPOCH_WALL_NS && claimed_wall_ns <= wall_ns + AHEAD_MAX_NS;
    return good ? QUALITY_OK : QUALITY_BAD_TIME;
}

/* Takes @n digits and the character behind them, 0 for the end of the text, off @s. */
static bool take_digits(struct slice *s, size_t n, char behind, int64_t *out) {
    if (s->len < n + (behind != 0)) return false;
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (s->base[i] < '0' || s->base[i] > '9') return false;
        *out = *out * 10 + (s->base[i] - '0');
    }
    if (behind != 0 && s->base[n] != behind) return false;
    n += behind != 0;
    *s = slice__of(s->base + n, s->len - n);
    return true;
}

/* Days since 1970 of a date of the proleptic Gregorian calendar, counted from March, so that the
 * leap day is a year's last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    int64_t y = month > 2 ? year : year - 1, m = month > 2 ? month - 3 : month + 9;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

bool quality__utc(struct slice text, int64_t *wall_ns) {
    struct slice s = text;
    int64_t year, month, day, hour, minute, second, fraction_ns = 0, unit_ns = NS_PER_S / 10;
    if (!take_digits(&s, 4, '-', &year) || !take_digits(&s, 2, '-', &month) ||
        !take_digits(&s, 2, 'T', &day) || !take_digits(&s, 2, ':', &hour) ||
        !take_digits(&s, 2, ':', &minute) || !take_digits(&s, 2, 0, &second))
        return false;
    if (s.len > 1 && *s.base == '.') {
        int64_t digit;
        s = slice__of(s.base + 1, s.len - 1);
        if (!take_digits(&s, 1, 0, &digit)) return false;
        do {
            fraction_ns += digit * unit_ns;
            unit_ns /= 10;
        } while (take_digits(&s, 1, 0, &digit));
    }
    if (s.len != 1 || *s.base != 'Z' || year < 1970 || year > 2199 || month < 1 || month > 12 ||
        day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
        return false;
    int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *wall_ns = seconds * NS_PER_S + fraction_ns;
    return true;
}

enum quality_reason quality__book(double bid, double ask) {
    if (quality__value(bid) != QUALITY_OK || quality__value(ask) != QUALITY_OK)
        return QUALITY_BAD_PRICE;
    return bid < ask ? QUALITY_OK : QUALITY_CROSSED_BOOK;
}

const char *quality__price_text(enum price_verdict verdict) {
    return verdict < PRICE__N ? price_texts[verdict] : "";
}

int quality__init(struct quality *q, struct metrics *m, const char *const *names,
                  size_t n_sources) {
    *q = (struct quality){0};
    if (n_sources > QUALITY_SOURCES_MAX) return ERR_FULL;
    q->n_sources = n_sources;
    for (unsigned v = PRICE_GOOD + 1; v < PRICE__N; v++)
        q->unpriced[v] = metrics__counter(m, "souk_items_unpriced_total",
                                          "Listed items without a price, by why they have none.",
                                          "reason=\"%s\"", price_texts[v]);
    for (size_t i = 0; i < n_sources; i++) {
        struct quality_source *s = &q->sources[i];
        s->name = names[i];
        s->rows = metrics__counter(m, "souk_source_rows_total",
                                   "Rows of data that pages became: what souk notes of "
                                   "the pages themselves is not in it.",
                                   "source=\"%s\"", s->name);
        s->gaps = metrics__counter(m, "souk_source_gaps_total",
                                   "Pieces of a source that its upstream did not have.",
                                   "source=\"%s\"", s->name);
        s->fields_lost = metrics__counter(m, "souk_source_fields_lost_total",
                                          "Fields of an unexpected shape; their rows were kept.",
                                          "source=\"%s\"", s->name);
        for (unsigned r = QUALITY_OK + 1; r < QUALITY__N; r++)
            s->quarantined[r] =
                metrics__counter(m, "souk_rows_quarantined_total", "Rows that a rule refused.",
                                 "source=\"%s\",reason=\"%s\"", s->name, reason_texts[r]);
    }
    return 0;
}

static struct quality_source *find_source(struct quality *q, const char *name) {
    for (size_t i = 0; i < q->n_sources; i++)
        if (strcmp(q->sources[i].name, name) == 0) return &q->sources[i];
    assert(false && "the source was not given to quality__init");
    return NULL;
}

static const struct column *find_column(const struct batch *b, const char *name) {
    for (size_t i = 0; i < b->table->n_columns; i++)
        if (strcmp(b->table->columns[i].name, name) == 0) return &b->columns[i];
    assert(false && "the quarantine table lacks a column");
    return NULL;
}

static void count_refused(struct quality_source *s, const struct batch *b) {
    struct reader reasons = reader__of(buf__slice(&find_column(b, "reason")->data));
    struct reader values = reader__of(buf__slice(&find_column(b, "value")->data));
    for (size_t i = 0; i < b->n_rows; i++) {
        enum quality_reason reason = quality__find(reader__string(&reasons));
        struct slice value = reader__string(&values);
        int64_t n = 1;
        assert(reason > QUALITY_OK && reason < QUALITY__N);
        if (reason == QUALITY_TOO_MANY && (!slice__int64(value, &n) || n < 1)) n = 1;
        series__add(s->quarantined[reason], (double)n);
    }
}

void quality__count(struct quality *q, const char *source, const struct rows *rows) {
    struct quality_source *s = find_source(q, source);
    series__add(s->fields_lost, (double)rows->n_fields_lost);
    for (unsigned v = PRICE_GOOD + 1; v < PRICE__N; v++)
        series__add(q->unpriced[v], (double)rows->n_unpriced[v]);
    for (size_t i = 0; i < rows->n; i++) {
        const struct batch *b = &rows->batches[i].batch;
        if (strcmp(b->table->name, "bronze_quarantine") == 0) count_refused(s, b);
        else if (strcmp(b->table->name, "bronze_exchange_gaps") == 0)
            series__add(s->gaps, (double)b->n_rows);
    }
    series__add(s->rows, (double)rows__count_data(rows));
}
