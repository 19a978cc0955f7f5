/* What the files of the enrichment source share: the sites, and the first line of what is kept. */
#ifndef SOUK_SOURCES_ENRICHMENT_INTERNAL_H
#define SOUK_SOURCES_ENRICHMENT_INTERNAL_H

#include "souk/decode.h"
#include "souk/source.h"

#define ENRICHMENT_NAME "enrichment"
#define ENRICHMENT_CHUNK 500      /* Rows of one answer of the wiki: its own limit. */
#define ENRICHMENT_ROWS_MAX 20000 /* Of one page. */

enum enrichment_site { ENRICHMENT_POEDB, ENRICHMENT_WIKI };

/** @return the site that the stream called @key asks. */
enum enrichment_site enrichment__site(const char *key);

/** Counts the rows in the body of an answer, and says what is wrong with one that is no page of
 *  @site. @return 0 or ERR_MALFORMED; a page without rows is one that has changed its shape. */
int enrichment__count(enum enrichment_site site, struct slice body, uint32_t *n, struct err *e);
/** source_type.decode: the body has the name of its page as a first line. */
int enrichment__decode(const struct page *page, const struct decode_context *context,
                       struct rows *out, struct err *e);

#endif
