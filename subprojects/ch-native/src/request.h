/** Packets to the server. */
#ifndef CHN_REQUEST_H
#define CHN_REQUEST_H

#include "wire.h"

#include <ch_native/conn.h>

/** Who asks, the same for all requests of a connection. Borrowed. */
struct chn_client {
    const char *name, *quota_key, *database, *user, *password, *hostname;
    uint32_t advertised; /* Revision. */
};

struct chn_request {
    const char *query_id, *sql;
    const struct chn_setting *settings;
    size_t n_settings;
    const struct chn_parameter *parameters;
    size_t n_parameters;
    enum chn_compression compression;
    bool is_insert;      /* Adds the settings that inserts need. */
    bool chunked;        /* As agreed with this server. */
    uint32_t deadline_s; /* For the server, unless the settings name it; 0: none. */
    bool profile_events; /* Asks for them. */
    bool json_as_text;   /* The server knows JSON columns, and is asked for text. */
};

void chn_request__hello(struct chn_buf *b, const struct chn_client *client);
/** Follows the server's hello; nothing below 54458. Names what was agreed on in @server. */
void chn_request__addendum(struct chn_buf *b, const struct chn_client *client,
                           const struct chn_server *server);
void chn_request__ping(struct chn_buf *b, bool chunked);
void chn_request__cancel(struct chn_buf *b, bool chunked);
/** The query and the empty block that ends the external tables, which the server waits for in any
 * case. */
void chn_request__query(struct chn_buf *b, const struct chn_client *client, uint32_t revision,
                        const struct chn_request *request);

/**
 * The block of an insert, without its packet type and table name: heads in @heads, @pieces (struct
 * chn_slice) pointing into them and to the columns' own bytes, in order. @return the bytes of all.
 */
uint64_t chn_request__block(struct chn_buf *heads, struct chn_buf *pieces, uint32_t revision,
                            const struct chn_insert *insert);

extern const uint8_t chn_data_head[2]; /* Packet type and empty table name of a data packet. */
extern const uint8_t
    chn_empty_packet[12]; /* The data packet with the empty block, not compressed. */

#endif
