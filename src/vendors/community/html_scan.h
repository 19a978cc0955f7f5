/* Reads HTML as a run of tags and texts, which is enough for tables of community sites. No tree is
 * built and nothing is trusted: bytes that make no sense become text, and the end of the page ends
 * everything that is open. Comments, declarations and the contents of script and style are skipped.
 * Linear in the size of the page. Source: the tokenizer of https://html.spec.whatwg.org, 13.2.5,
 * much reduced. */
#ifndef SOUK_SOURCES_HTML_SCAN_H
#define SOUK_SOURCES_HTML_SCAN_H

#include "souk/core/buf.h"

enum html_kind { HTML_TEXT, HTML_OPEN, HTML_CLOSE };

struct html_token {
    enum html_kind kind;
    struct slice name;  /* Of a tag, as written. */
    struct slice attrs; /* Of an opening tag: what stands behind its name. */
    struct slice text;  /* Of a text, with its references. */
};

struct html_scan {
    struct slice page; /* Borrowed. */
    size_t at;
};

static inline struct html_scan html_scan__of(struct slice page) {
    return (struct html_scan){.page = page};
}
/** Reads the next token; its slices are parts of the page. @return false at the end. */
bool html_scan__next(struct html_scan *s, struct html_token *out);
/** @return true when @t is a tag of the kind @kind that is called @name (lower case). */
bool html_token__is(const struct html_token *t, enum html_kind kind, const char *name);
/** Finds the value of the attribute @name (lower case) in @attrs, as written, without its quotes.
 *  @return false when it is not there. */
bool html_scan__attr(struct slice attrs, const char *name, struct slice *value);
/** Appends @text with its character references resolved and each run of blanks as one blank, but
 * not beyond @len_max bytes of @out. Blanks at the front of @out are left out; one at the end can
 * stay. */
void html_scan__text(struct buf *out, struct slice text, size_t len_max);

#endif
