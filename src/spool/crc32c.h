/* CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected; RFC 3720, appendix B.4). */
#ifndef SOUK_SPOOL_CRC32C_H
#define SOUK_SPOOL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/** Continues @crc, 0 at the start, over @len bytes. Uses SSE4.2 where the processor has it. */
uint32_t crc32c__update(uint32_t crc, const void *bytes, size_t len);
/** The same from a table, on any processor. */
uint32_t crc32c__update_table(uint32_t crc, const void *bytes, size_t len);

#endif
