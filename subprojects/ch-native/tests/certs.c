#include "certs.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

struct identity {
    X509 *cert;
    EVP_PKEY *key;
};

static void must(int ok) {
    if (!ok) abort();
}

static void add_extension(X509 *cert, int nid, const char *value) {
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    must(extension != NULL && X509_add_ext(cert, extension, -1));
    X509_EXTENSION_free(extension);
}

/* @names NULL: an authority. @issuer NULL: signed by itself. Valid from @from_s to @to_s from now. */
static struct identity make(const char *subject, const char *names, const struct identity *issuer,
                            long from_s, long to_s) {
    static long serial = 1;
    struct identity me = {X509_new(), EVP_EC_gen("P-256")};
    must(me.cert != NULL && me.key != NULL);
    X509_set_version(me.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(me.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(me.cert), from_s);
    X509_gmtime_adj(X509_getm_notAfter(me.cert), to_s);
    X509_NAME *name = X509_get_subject_name(me.cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)subject, -1, -1, 0);
    X509_set_issuer_name(me.cert, issuer != NULL ? X509_get_subject_name(issuer->cert) : name);
    X509_set_pubkey(me.cert, me.key);
    if (names != NULL) add_extension(me.cert, NID_subject_alt_name, names);
    else add_extension(me.cert, NID_basic_constraints, "critical,CA:TRUE");
    must(X509_sign(me.cert, issuer != NULL ? issuer->key : me.key, EVP_sha256()) > 0);
    return me;
}

static void keep(const char *dir, const char *name, struct identity me) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s.pem", dir, name);
    FILE *f = fopen(path, "w");
    must(f != NULL && PEM_write_X509(f, me.cert) &&
         PEM_write_PrivateKey(f, me.key, NULL, NULL, 0, NULL, NULL));
    fclose(f);
    X509_free(me.cert);
    EVP_PKEY_free(me.key);
}

void certs__write(const char *dir) {
    static const char names[] = "DNS:localhost,IP:127.0.0.1,IP:::1";
    enum { DAY_S = 86400 };
    struct identity ca = make("test authority", NULL, NULL, -DAY_S, DAY_S),
                    other = make("another authority", NULL, NULL, -DAY_S, DAY_S);
    keep(dir, "good", make("localhost", names, &ca, -DAY_S, DAY_S));
    keep(dir, "expired", make("localhost", names, &ca, -2 * DAY_S, -DAY_S));
    keep(dir, "early", make("localhost", names, &ca, DAY_S, 2 * DAY_S));
    keep(dir, "wrong-host", make("db.example", "DNS:db.example,DNS:*.db.example", &ca, -DAY_S, DAY_S));
    keep(dir, "stranger", make("localhost", names, &other, -DAY_S, DAY_S));
    keep(dir, "client", make("client", "DNS:client", &ca, -DAY_S, DAY_S));
    keep(dir, "ca", ca);
    keep(dir, "other-ca", other);
}
