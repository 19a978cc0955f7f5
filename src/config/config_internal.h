/* What the files of this room share.
 *
 * tree.c reads the YAML with libyaml, checks it against the schema of schema.c and remembers the
 * line of every value; libcyaml then loads the checked text into the struct; config.c fills in
 * defaults and the environment; check.c judges the values. */
#ifndef SOUK_CONFIG_INTERNAL_H
#define SOUK_CONFIG_INTERNAL_H

#include "souk/config.h"
#include <cyaml/cyaml.h>

#define CONFIG_NODES_MAX 4096

struct config_place {
    char *path; /* E.g. sources.psapi.realms[0]. Owned. */
    int line;
};

struct config_job {
    const char *name; /* Of the file. */
    config_env env;
    struct config_errors *errs;
    struct config_place *places; /* Owned. */
    size_t n_places;
    bool no_memory; /* A place could not be remembered. */
};

/** Adds an error. @line counts from 1; 0: not of a line. */
void job__errorf(struct config_job *job, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/** @return the line of the value at @path, or 0 when the file has none. */
int job__line(const struct config_job *job, const char *path);

extern const cyaml_schema_value_t config_schema;

/** Checks @text, with all errors to @job, and writes it to @out again as libcyaml is to load it.
 *  @return 0, ERR_NOMEM or ERR_CONFIG. */
int tree__check(struct config_job *job, struct slice text, struct buf *out);
/** Judges the values of @c, with all errors to @job. */
void config__check(struct config_job *job, const struct config *c);

#endif
