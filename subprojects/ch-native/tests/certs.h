/** Certificates for tests, made when they are needed, of keys that nobody keeps. */
#ifndef CHN_TESTS_CERTS_H
#define CHN_TESTS_CERTS_H

/**
 * Writes into @dir, each with its key in the same file: ca.pem and other-ca.pem (authorities),
 * good.pem (localhost, 127.0.0.1 and ::1, by ca), expired.pem, early.pem (not valid yet),
 * wrong-host.pem (for db.example), stranger.pem (by other-ca), client.pem (by ca). Aborts if it
 * cannot.
 */
void certs__write(const char *dir);

#endif
