/*
 * TLS over memory, with OpenSSL. The happy path: ciphertext is put in, the handshake goes on until
 * it is done, plain bytes are read and written, ciphertext is taken out. What can fail: the
 * server's certificate, no common version, damaged records; all are said in words that name the
 * host and what to do.
 */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

struct chn_tls {
    unsigned n_shares; /* All of one loop, so of one thread. */
    SSL_CTX *context;
    char *server_name; /* NULL: the host's. */
    bool insecure;
};

struct chn_tls_session {
    struct chn_tls *tls;
    SSL *ssl;
    BIO *in, *out; /* Ciphertext; the SSL's. */
    char host[256];
    char refusal[192]; /* Why the certificate will not do; "" while it will. */
    char plain[16 << 10];
};

/* OpenSSL's last word, and forgets the others. */
static const char *last_reason(void) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason != NULL ? reason : "no reason given";
}

static int load_trust(SSL_CTX *context, const struct chn_tls_options *o, struct chn_err *err) {
    if (o->ca_file == NULL && o->ca_dir == NULL)
        return SSL_CTX_set_default_verify_paths(context) == 1
                   ? 0
                   : chn_err__setf(err, CHN_ERR_TLS, "TLS: the system's authorities: %s",
                                   last_reason());
    if (o->ca_file != NULL && SSL_CTX_load_verify_file(context, o->ca_file) != 1)
        return chn_err__setf(err, CHN_ERR_TLS, "TLS: authorities in %.150s: %s", o->ca_file,
                             last_reason());
    if (o->ca_dir != NULL && SSL_CTX_load_verify_dir(context, o->ca_dir) != 1)
        return chn_err__setf(err, CHN_ERR_TLS, "TLS: authorities in folder %.150s: %s", o->ca_dir,
                             last_reason());
    return 0;
}

static int load_own(SSL_CTX *context, const struct chn_tls_options *o, struct chn_err *err) {
    const char *key = o->key_file != NULL ? o->key_file : o->cert_file;
    if (o->cert_file == NULL) return 0;
    if (SSL_CTX_use_certificate_chain_file(context, o->cert_file) != 1)
        return chn_err__setf(err, CHN_ERR_TLS, "TLS: certificate in %.150s: %s", o->cert_file,
                             last_reason());
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return chn_err__setf(err, CHN_ERR_TLS, "TLS: key in %.150s: %s", key, last_reason());
    return 0;
}

struct chn_tls *chn_tls__new(const struct chn_tls_options *o, struct chn_err *err) {
    struct chn_tls *tls = calloc(1, sizeof *tls);
    if (tls != NULL) {
        tls->n_shares = 1;
        tls->insecure = o->insecure;
        tls->context = SSL_CTX_new(TLS_client_method());
        if (o->server_name != NULL) tls->server_name = strdup(o->server_name);
    }
    if (tls == NULL || tls->context == NULL ||
        (o->server_name != NULL && tls->server_name == NULL)) {
        chn_err__setf(err, CHN_ERR_MEMORY, "TLS: no memory");
        chn_tls__free(tls);
        return NULL;
    }
    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
    SSL_CTX_set_options(tls->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(tls->context, SSL_MODE_RELEASE_BUFFERS);
    if ((o->insecure ? 0 : load_trust(tls->context, o, err)) != 0 ||
        load_own(tls->context, o, err) != 0) {
        chn_tls__free(tls);
        return NULL;
    }
    return tls;
}

struct chn_tls *chn_tls__share(struct chn_tls *tls) {
    if (tls != NULL) tls->n_shares++;
    return tls;
}

void chn_tls__free(struct chn_tls *tls) {
    if (tls == NULL || --tls->n_shares > 0) return;
    SSL_CTX_free(tls->context);
    free(tls->server_name);
    free(tls);
}

/* --- Why a certificate will not do --- */

static void write_time(char *to, size_t capacity, const ASN1_TIME *time) {
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1 ||
        strftime(to, capacity, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        snprintf(to, capacity, "an unreadable time");
}

/* The hosts that it is for, a few of them; the text is the certificate's, so only what prints. */
static void write_names(char *to, size_t capacity, X509 *cert) {
    size_t n = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < 4; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char text[80] = "an address";
        if (name->type == GEN_DNS)
            snprintf(text, sizeof text, "%.*s", ASN1_STRING_length(name->d.dNSName),
                     (const char *)ASN1_STRING_get0_data(name->d.dNSName));
        int wrote = snprintf(to + n, capacity - n, "%s%s", i > 0 ? ", " : "", text);
        if (wrote < 0 || (size_t)wrote >= capacity - n) break;
        n += (size_t)wrote;
    }
    if (n == 0) snprintf(to, capacity, "no host at all");
    for (char *c = to; *c != '\0'; c++)
        if (*c < ' ' || *c > '~') *c = '?';
    GENERAL_NAMES_free(names);
}

static void write_refusal(struct chn_tls_session *s, int why, X509 *cert) {
    char text[120] = "";
    size_t room = sizeof s->refusal;
    switch (why) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        write_time(text, sizeof text, X509_get0_notAfter(cert));
        snprintf(s->refusal, room, "expired at %s", text);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        write_time(text, sizeof text, X509_get0_notBefore(cert));
        snprintf(s->refusal, room, "not valid before %s", text);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        write_names(text, sizeof text, cert);
        snprintf(s->refusal, room, "is for another host (%s)", text);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        snprintf(s->refusal, room, "unknown authority: name its file if it is to be trusted (%s)",
                 X509_verify_cert_error_string(why));
        break;
    default: snprintf(s->refusal, room, "%s", X509_verify_cert_error_string(why));
    }
}

static int on_verify(int ok, X509_STORE_CTX *store) {
    if (ok == 1) return 1;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    write_refusal(SSL_get_app_data(ssl), X509_STORE_CTX_get_error(store),
                  X509_STORE_CTX_get_current_cert(store));
    return 0;
}

/* --- Sessions --- */

/* Whom the certificate must name: an address or a name; SNI takes names only. */
static bool expect_host(SSL *ssl, const char *host, bool insecure) {
    bool is_address = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    ERR_clear_error();
    if (!is_address && SSL_set_tlsext_host_name(ssl, host) != 1) return false;
    if (insecure) {
        SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
        return true;
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    SSL_set_verify(ssl, SSL_VERIFY_PEER, on_verify);
    return is_address || SSL_set1_host(ssl, host) == 1;
}

struct chn_tls_session *chn_tls_session__new(struct chn_tls *tls, const char *host,
                                             struct chn_err *err) {
    struct chn_tls_session *s = calloc(1, sizeof *s);
    if (s == NULL) {
        chn_err__setf(err, CHN_ERR_MEMORY, "TLS: no memory");
        return NULL;
    }
    if (tls->server_name != NULL) host = tls->server_name;
    snprintf(s->host, sizeof s->host, "%s", host);
    s->tls = chn_tls__share(tls);
    s->ssl = SSL_new(tls->context);
    s->in = BIO_new(BIO_s_mem());
    s->out = BIO_new(BIO_s_mem());
    if (s->ssl == NULL || s->in == NULL || s->out == NULL) {
        BIO_free(s->in);
        BIO_free(s->out);
        chn_tls_session__free(s);
        chn_err__setf(err, CHN_ERR_MEMORY, "TLS: no memory");
        return NULL;
    }
    SSL_set_bio(s->ssl, s->in, s->out);
    SSL_set_app_data(s->ssl, s);
    SSL_set_connect_state(s->ssl);
    if (!expect_host(s->ssl, s->host, tls->insecure)) {
        chn_tls_session__free(s);
        chn_err__setf(err, CHN_ERR_TLS, "TLS: %.100s cannot be the name of a host", host);
        return NULL;
    }
    return s;
}

void chn_tls_session__free(struct chn_tls_session *s) {
    if (s == NULL) return;
    SSL_free(s->ssl);
    chn_tls__free(s->tls);
    OPENSSL_cleanse(s->plain, sizeof s->plain);
    free(s);
}

int chn_tls_session__put(struct chn_tls_session *s, const void *data, size_t n) {
    size_t written;
    return n == 0 || (BIO_write_ex(s->in, data, n, &written) == 1 && written == n) ? 0
                                                                                   : CHN_ERR_MEMORY;
}

int chn_tls_session__take(struct chn_tls_session *s, struct chn_buf *out) {
    size_t n = BIO_ctrl_pending(s->out), got = 0;
    if (n == 0) return 0;
    if (!chn_buf__reserve(out, n)) return CHN_ERR_MEMORY;
    if (BIO_read_ex(s->out, out->data + out->n, n, &got) != 1) return CHN_ERR_MEMORY;
    out->n += got;
    return 0;
}

/* Why a call failed for good; @what it was. */
static int fail(struct chn_tls_session *s, const char *what, struct chn_err *err) {
    if (s->refusal[0] != '\0') {
        ERR_clear_error();
        return chn_err__setf(err, CHN_ERR_TLS, "certificate of %.60s: %s", s->host, s->refusal);
    }
    unsigned long code = ERR_peek_last_error();
    bool is_plain =
        ERR_GET_LIB(code) == ERR_LIB_SSL && (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER ||
                                             ERR_GET_REASON(code) == SSL_R_PACKET_LENGTH_TOO_LONG ||
                                             ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST);
    return chn_err__setf(err, CHN_ERR_TLS, "TLS with %.60s: %s: %s%s", s->host, what, last_reason(),
                         is_plain ? " (is this the port without TLS?)" : "");
}

int chn_tls_session__handshake(struct chn_tls_session *s, struct chn_err *err) {
    ERR_clear_error();
    int status = SSL_do_handshake(s->ssl);
    if (status == 1) return 0;
    if (SSL_get_error(s->ssl, status) == SSL_ERROR_WANT_READ) return CHN_MORE;
    return fail(s, "handshake", err);
}

int chn_tls_session__read(struct chn_tls_session *s, const void **data, size_t *n,
                          struct chn_err *err) {
    ERR_clear_error();
    *data = s->plain;
    int status = SSL_read_ex(s->ssl, s->plain, sizeof s->plain, n);
    if (status == 1) return 0;
    switch (SSL_get_error(s->ssl, status)) {
    case SSL_ERROR_WANT_READ: return CHN_MORE;
    case SSL_ERROR_ZERO_RETURN: return CHN_ERR_LOST;
    default: return fail(s, "read", err);
    }
}

int chn_tls_session__write(struct chn_tls_session *s, const void *data, size_t n,
                           struct chn_err *err) {
    size_t written = 0;
    ERR_clear_error();
    if (n == 0) return 0;
    /* Memory takes all of it at once, and renegotiation, which would have to read, is off. */
    if (SSL_write_ex(s->ssl, data, n, &written) == 1 && written == n) return 0;
    return fail(s, "write", err);
}

void chn_tls_session__finish(struct chn_tls_session *s) {
    ERR_clear_error();
    if (SSL_is_init_finished(s->ssl)) SSL_shutdown(s->ssl);
    ERR_clear_error();
}
