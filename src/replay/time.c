/* Times as people write them, read without the locale and the time zone of the machine. */
#include "souk/core/clock.h"
#include "souk/replay.h"
#include <time.h>

/* Takes @n digits off *@at. @return false when there are fewer. */
static bool take_number(const char **at, int n, int *out) {
    *out = 0;
    for (int i = 0; i < n; i++, (*at)++) {
        if (**at < '0' || **at > '9') return false;
        *out = *out * 10 + (**at - '0');
    }
    return true;
}

static bool take_char(const char **at, char c) {
    if (**at != c) return false;
    (*at)++;
    return true;
}

/* .123456789, of which nanoseconds count. */
static bool take_fraction(const char **at, int64_t *out_ns) {
    int64_t unit = NS_PER_S / 10;
    *out_ns = 0;
    if (**at < '0' || **at > '9') return false;
    for (; **at >= '0' && **at <= '9'; (*at)++, unit /= 10) *out_ns += (**at - '0') * unit;
    return true;
}

static bool is_day(const struct tm *tm) {
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = tm->tm_year + 1900;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1970 || year > 2200 || tm->tm_mon < 0 || tm->tm_mon > 11 || tm->tm_mday < 1)
        return false;
    return tm->tm_mday <= days[tm->tm_mon] - (tm->tm_mon == 1 && !leap);
}

bool replay__parse_time(const char *text, int64_t *out_wall_ns) {
    struct tm tm = {0};
    int64_t fraction_ns = 0;
    if (!take_number(&text, 4, &tm.tm_year) || !take_char(&text, '-') ||
        !take_number(&text, 2, &tm.tm_mon) || !take_char(&text, '-') ||
        !take_number(&text, 2, &tm.tm_mday))
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    if (take_char(&text, 'T') || take_char(&text, ' ')) {
        if (!take_number(&text, 2, &tm.tm_hour) || !take_char(&text, ':') ||
            !take_number(&text, 2, &tm.tm_min))
            return false;
        if (take_char(&text, ':') && !take_number(&text, 2, &tm.tm_sec)) return false;
        if (take_char(&text, '.') && !take_fraction(&text, &fraction_ns)) return false;
        take_char(&text, 'Z');
    }
    if (*text != '\0' || !is_day(&tm) || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    *out_wall_ns = (int64_t)timegm(&tm) * NS_PER_S + fraction_ns;
    return true;
}
