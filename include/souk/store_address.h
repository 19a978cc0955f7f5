/* Where ClickHouse is and how it is reached: the store's options as ch-native wants them. */
#ifndef SOUK_STORE_ADDRESS_H
#define SOUK_STORE_ADDRESS_H

#include "souk/store.h"
#include <ch_native/conn.h>

/** Zeroed it is empty. Owns its names and a share of its TLS. */
struct store_address {
    struct chn_host hosts[CHN_HOSTS_MAX];
    size_t n_hosts;
    struct chn_tls *tls; /* NULL: none. */
};

/** Takes hosts and TLS from @o. Reads the authorities' file: for start-up and offline work only.
 *  @return 0, or ERR_CONFIG, ERR_NOMEM with @e filled; @p is empty then. */
int store_address__init(struct store_address *p, const struct store_options *o, struct err *e);
/** Adds them to @options, which borrows from @p until the connection is made. */
void store_address__apply(const struct store_address *p, struct chn_options *options);
void store_address__fini(struct store_address *p);

/** Takes `name`, `name:port` or `[address]:port` apart. @port stays as it is where there is none.
 *  @return false when @text is none of these. */
bool store_address__parse(const char *text, char *name, size_t capacity, uint16_t *port);

#endif
