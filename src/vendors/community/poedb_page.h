/* The rows of a page of poedb, one after another: the rows of its tables, and the items of the
 * lists in which a name that is a link is followed by its gold cost (as on Currency_Exchange: a
 * heading h5 for the category, a subtitle for the section, then <a>name</a> <span>cost</span>). */
#ifndef SOUK_SOURCES_POEDB_PAGE_H
#define SOUK_SOURCES_POEDB_PAGE_H

#include "html_scan.h"

enum { POEDB_CELLS_MAX = 24, POEDB_CELL_BYTES_MAX = 2048 };

/** Texts in one buffer, one behind the other. */
struct poedb_cells {
    struct buf text;
    size_t ends[POEDB_CELLS_MAX];
    size_t n;
};

/** Where the reading stands, and the row that was read last. Its owner embeds it. */
struct poedb_page {
    struct html_scan scan;
    struct poedb_cells cells, heads; /* heads: of the columns, where the table has a row of them. */
    struct buf category, section;
    struct slice link;   /* Attributes of the first link of the row, as written. */
    bool too_many;       /* The row has more cells than are kept. */
    struct buf *capture; /* The heading that is being read, and what ends it. */
    struct slice until;
    bool in_table, in_row, in_cell, has_data, row_waits;
    enum { POEDB_LIST_NONE, POEDB_LIST_NAME, POEDB_LIST_GAP, POEDB_LIST_COST } list;
};

/** Starts at the front of @html, which is borrowed. */
void poedb_page__init(struct poedb_page *p, struct slice html);
void poedb_page__fini(struct poedb_page *p);
/** Reads the next row that has something in it. @return false at the end, or without memory (then
 *  poedb_page__failed). What it reads is good until the next call. */
bool poedb_page__next(struct poedb_page *p);
bool poedb_page__failed(const struct poedb_page *p);
/** @return the text of cell @i, without blanks at its ends; empty when there is none. */
struct slice poedb_cells__get(const struct poedb_cells *c, size_t i);
/** Reads a cost: 15, 1,200, 0.5 or 1/1000, not negative. @return false when @text is none. */
bool poedb_page__cost(struct slice text, double *cost);

#endif
