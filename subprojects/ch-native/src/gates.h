/**
 * Which field exists from which protocol revision on: the negotiated one is the smaller of the
 * client's and the server's. One missing field desynchronises everything, so nothing asks for a
 * revision by its number. (ClickHouse, src/Core/ProtocolDefines.h.)
 */
#ifndef CHN_GATES_H
#define CHN_GATES_H

#include <stdbool.h>
#include <stdint.h>

#define CHN_GATE_MAP(X)                                                                            \
    X(CHN_GATE_TIMEZONE, 54058)             /* ServerHello: time zone. */                          \
    X(CHN_GATE_QUOTA_KEY, 54060)            /* ClientInfo: quota key. */                           \
    X(CHN_GATE_DISPLAY_NAME, 54372)         /* ServerHello: display name. */                       \
    X(CHN_GATE_VERSION_PATCH, 54401)        /* ServerHello, ClientInfo: patch number. */           \
    X(CHN_GATE_LOW_CARDINALITY, 54405)      /* Below it servers strip the type. */                 \
    X(CHN_GATE_WROTE_ROWS, 54420)           /* Progress: rows and bytes written. */                \
    X(CHN_GATE_STRING_SETTINGS, 54429)      /* Query: settings as name, flags, text. */            \
    X(CHN_GATE_INTERSERVER_SECRET, 54441)   /* Query: an empty string for clients. */              \
    X(CHN_GATE_OPEN_TELEMETRY, 54442)       /* ClientInfo: trace context. */                       \
    X(CHN_GATE_DISTRIBUTED_DEPTH, 54448)    /* ClientInfo. */                                      \
    X(CHN_GATE_START_TIME, 54449)           /* ClientInfo: microseconds. */                        \
    X(CHN_GATE_PARALLEL_REPLICAS, 54453)    /* ClientInfo: three numbers. */                       \
    X(CHN_GATE_CUSTOM_SERIALIZATION, 54454) /* Block: a byte a column. */                          \
    X(CHN_GATE_ADDENDUM, 54458)             /* Handshake: quota key after ServerHello. */          \
    X(CHN_GATE_PARAMETERS, 54459)           /* Query: parameters. */                               \
    X(CHN_GATE_ELAPSED, 54460)              /* Progress: nanoseconds. */                           \
    X(CHN_GATE_PASSWORD_RULES, 54461)       /* ServerHello: complexity rules. */                   \
    X(CHN_GATE_NONCE, 54462)                /* ServerHello: u64. */                                \
    X(CHN_GATE_TOTAL_BYTES, 54463)          /* Progress: total bytes to read. */                   \
    X(CHN_GATE_TIMEZONE_UPDATE, 54464)      /* Packet 17. */                                       \
    X(CHN_GATE_SPARSE, 54465)               /* Block: sparse columns. */                           \
    X(CHN_GATE_BEFORE_AGGREGATION, 54469)   /* ProfileInfo: a flag and a number. */                \
    X(CHN_GATE_CHUNKS, 54470)               /* ServerHello, addendum; framing of all after it. */  \
    X(CHN_GATE_REPLICAS_VERSION, 54471)     /* ServerHello, addendum: VarUInt. */                  \
    X(CHN_GATE_EXTERNAL_ROLES, 54472)       /* Query: a list in a string. */                       \
    X(CHN_GATE_JSON_AS_TEXT, 54473)         /* The server's own: knows the setting for it. */      \
    X(CHN_GATE_SERVER_SETTINGS, 54474)      /* ServerHello: name, flags, text. */                  \
    X(CHN_GATE_SCRIPT_LINES, 54475)         /* ClientInfo: two numbers. */                         \
    X(CHN_GATE_JWT, 54476)                  /* ClientInfo: a flag. */                              \
    X(CHN_GATE_PLAN_VERSION, 54477)         /* ServerHello: VarUInt. */                            \
    X(CHN_GATE_DETACHED, 54478)             /* Block: columns that are packed by themselves. */    \
    X(CHN_GATE_CLUSTER_VERSION, 54479)      /* ServerHello: VarUInt. */                            \
    X(CHN_GATE_BUCKETS, 54480)              /* BlockInfo: field 3, a list of Int32. */             \
    X(CHN_GATE_PACKED_SIDE, 54481)          /* Logs, events, table columns: framed as data is. */  \
    X(CHN_GATE_REPLICATED, 54482)           /* Block: columns of values and indexes. */            \
    X(CHN_GATE_SPARSE_NULLABLE, 54483)      /* Block: sparse columns where NULL is the default. */ \
    X(CHN_GATE_CLIENT_AGENT, 54485)         /* ClientInfo: a string. */                            \
    X(CHN_GATE_IS_INTERNAL, 54486)          /* ClientInfo: a flag. */                              \
    X(CHN_GATE_CURRENT_ROLES, 54488)        /* ClientInfo: a flag. */

#define CHN_GATE_CODE(gate, revision) gate = revision,
enum chn_gate { CHN_GATE_MAP(CHN_GATE_CODE) };
#undef CHN_GATE_CODE

static inline bool chn_gate(uint32_t revision, enum chn_gate gate) {
    return revision >= (uint32_t)gate;
}

#endif
