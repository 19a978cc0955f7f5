/* The happy path: a table's row opens, its cells collect text, it closes and is returned. A row
 * that opens while another is open ends that one; a table within a cell ends the row that it is in.
 */
#include "poedb_page.h"
#include <math.h>
#include <stdlib.h>

enum { HEADING_BYTES_MAX = 256 };

void poedb_page__init(struct poedb_page *p, struct slice html) {
    *p = (struct poedb_page){.scan = html_scan__of(html)};
    p->cells.text = buf__init((size_t)POEDB_CELLS_MAX * (POEDB_CELL_BYTES_MAX + 8));
    p->heads.text = buf__init((size_t)POEDB_CELLS_MAX * (POEDB_CELL_BYTES_MAX + 8));
    p->category = buf__init(HEADING_BYTES_MAX);
    p->section = buf__init(HEADING_BYTES_MAX);
}

void poedb_page__fini(struct poedb_page *p) {
    buf__fini(&p->cells.text);
    buf__fini(&p->heads.text);
    buf__fini(&p->category);
    buf__fini(&p->section);
}

bool poedb_page__failed(const struct poedb_page *p) {
    return p->cells.text.failed || p->heads.text.failed || p->category.failed || p->section.failed;
}

struct slice poedb_cells__get(const struct poedb_cells *c, size_t i) {
    if (i >= c->n) return (struct slice){0};
    size_t from = i == 0 ? 0 : c->ends[i - 1];
    return slice__trim(slice__of(c->text.base + from, c->ends[i] - from));
}

static void clear(struct poedb_cells *c) {
    buf__clear(&c->text);
    c->n = 0;
}

/* A new cell; its text is what follows. The blank keeps texts of neighbours apart. */
static bool begin_cell(struct poedb_cells *c) {
    if (c->n == POEDB_CELLS_MAX) return false;
    buf__append(&c->text, " ", 1);
    c->ends[c->n++] = c->text.len;
    return true;
}

static void add_text(struct poedb_cells *c, struct slice text) {
    size_t from = c->n <= 1 ? 0 : c->ends[c->n - 2];
    html_scan__text(&c->text, text, from + POEDB_CELL_BYTES_MAX);
    c->ends[c->n - 1] = c->text.len;
}

static void begin_row(struct poedb_page *p) {
    clear(&p->cells);
    p->in_row = true;
    p->in_cell = p->has_data = p->too_many = p->row_waits = false;
    p->link = (struct slice){0};
}

/* @return whether the row that ends here is one to return; one of headings is kept as such. */
static bool end_row(struct poedb_page *p) {
    bool filled = false, was_open = p->in_row;
    p->in_row = p->in_cell = false;
    for (size_t i = 0; i < p->cells.n; i++)
        filled = filled || poedb_cells__get(&p->cells, i).len > 0;
    if (!was_open || !filled) return false;
    if (p->has_data) return true;
    struct poedb_cells heads = p->heads; /* Swapped: the row's cells are begun anew anyway. */
    p->heads = p->cells;
    p->cells = heads;
    return false;
}

static bool is_any(const struct html_token *t, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (slice__ieq(t->name, slice__str(names[i]))) return true;
    return false;
}

/* @return whether a row is complete. */
static bool on_table_tag(struct poedb_page *p, const struct html_token *t) {
    static const char *const breaks[] = {"br", "div", "p", "li", "ul", "hr"};
    if (html_token__is(t, HTML_OPEN, "tr")) {
        bool whole = end_row(p);
        if (whole) p->row_waits = true;
        else begin_row(p);
        return whole;
    }
    if (html_token__is(t, HTML_CLOSE, "tr")) return end_row(p);
    if (html_token__is(t, HTML_CLOSE, "table")) {
        p->in_table = false;
        return end_row(p);
    }
    bool data = html_token__is(t, HTML_OPEN, "td");
    if (data || html_token__is(t, HTML_OPEN, "th")) {
        if (!p->in_row) begin_row(p);
        p->has_data = p->has_data || data;
        p->in_cell = begin_cell(&p->cells);
        p->too_many = p->too_many || !p->in_cell;
    } else if (html_token__is(t, HTML_CLOSE, "td") || html_token__is(t, HTML_CLOSE, "th")) {
        p->in_cell = false;
    } else if (html_token__is(t, HTML_OPEN, "a") && p->in_cell && p->link.len == 0) {
        p->link = t->attrs;
    } else if (p->in_cell && is_any(t, breaks, sizeof breaks / sizeof *breaks)) {
        add_text(&p->cells, SLICE_LIT(" "));
    }
    return false;
}

/* @return whether an item of a list is complete. */
static bool on_list_tag(struct poedb_page *p, const struct html_token *t) {
    double cost;
    if (html_token__is(t, HTML_OPEN, "a")) {
        begin_row(p);
        begin_cell(&p->cells);
        p->in_row = false;
        p->link = t->attrs;
        p->list = POEDB_LIST_NAME;
    } else if (p->list == POEDB_LIST_NAME && html_token__is(t, HTML_CLOSE, "a")) {
        p->list = POEDB_LIST_GAP;
    } else if (p->list == POEDB_LIST_GAP) {
        p->list = html_token__is(t, HTML_OPEN, "span") ? POEDB_LIST_COST : POEDB_LIST_NONE;
        if (p->list == POEDB_LIST_COST) begin_cell(&p->cells);
    } else if (p->list == POEDB_LIST_COST && html_token__is(t, HTML_CLOSE, "span")) {
        p->list = POEDB_LIST_NONE;
        /* Links of the site's own menus have numbers behind them too, but no section above. */
        return p->section.len > 0 && poedb_cells__get(&p->cells, 0).len > 0 &&
               poedb_page__cost(poedb_cells__get(&p->cells, 1), &cost);
    }
    return false;
}

/* Headings above lists and tables. */
static void on_heading(struct poedb_page *p, const struct html_token *t) {
    struct slice class = {0};
    if (p->capture != NULL && t->kind == HTML_CLOSE && slice__ieq(t->name, p->until))
        p->capture = NULL;
    if (t->kind != HTML_OPEN) return;
    bool category = slice__ieq(t->name, SLICE_LIT("h5"));
    static const char mark[] = "currency-exchange-subtitle";
    bool section = html_scan__attr(t->attrs, "class", &class) && class.len >= sizeof mark - 1 &&
                   memmem(class.base, class.len, mark, sizeof mark - 1) != NULL;
    if (!category && !section) return;
    p->capture = category ? &p->category : &p->section;
    if (category) buf__clear(&p->category);
    buf__clear(&p->section);
    p->until = t->name;
}

static bool is_blank(struct slice text) {
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.base[i] > ' ') return false;
    return true;
}

static void on_text(struct poedb_page *p, struct slice text) {
    if (p->in_cell || p->list == POEDB_LIST_NAME || p->list == POEDB_LIST_COST)
        add_text(&p->cells, text);
    else if (p->capture != NULL) html_scan__text(p->capture, text, HEADING_BYTES_MAX);
    else if (p->list == POEDB_LIST_GAP && !is_blank(text)) p->list = POEDB_LIST_NONE;
}

bool poedb_page__next(struct poedb_page *p) {
    struct html_token t;
    if (p->row_waits) begin_row(p);
    while (!poedb_page__failed(p) && html_scan__next(&p->scan, &t)) {
        if (t.kind == HTML_TEXT) {
            on_text(p, t.text);
        } else if (html_token__is(&t, HTML_OPEN, "table")) {
            bool whole = end_row(p);
            clear(&p->heads);
            p->in_table = true;
            p->list = POEDB_LIST_NONE;
            p->capture = NULL;
            if (whole) return true;
        } else if (p->in_table) {
            if (on_table_tag(p, &t)) return true;
        } else {
            on_heading(p, &t);
            if (on_list_tag(p, &t)) {
                clear(&p->heads);
                return true;
            }
        }
    }
    return !poedb_page__failed(p) && end_row(p);
}

bool poedb_page__cost(struct slice text, double *cost) {
    char digits[2][24];
    size_t n = 0, part = 0;
    text = slice__trim(text);
    for (size_t i = 0; i <= text.len; i++) {
        char c = i < text.len ? text.base[i] : '\0';
        if (c == ',' && n > 0) continue;
        if ((c >= '0' && c <= '9') || (c == '.' && n > 0 && memchr(digits[part], '.', n) == NULL)) {
            if (n + 1 == sizeof digits[part]) return false;
            digits[part][n++] = c;
            continue;
        }
        bool ends = c == '\0' || (c == '/' && part == 0);
        if (!ends || n == 0) return false;
        digits[part][n] = '\0';
        if (c == '/') part++, n = 0;
    }
    *cost = strtod(digits[0], NULL);
    if (part == 1) *cost /= strtod(digits[1], NULL);
    return isfinite(*cost);
}
