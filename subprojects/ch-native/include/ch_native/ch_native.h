/** ch-native: a ClickHouse client over the native protocol for programs with a libuv loop. Includes
 * all of it. */
#ifndef CH_NATIVE_CH_NATIVE_H
#define CH_NATIVE_CH_NATIVE_H

#include "block.h"
#include "builder.h"
#include "conn.h"
#include "keeper.h"
#include "limits.h"
#include "pool.h"
#include "tls.h"
#include "type.h"

#endif
