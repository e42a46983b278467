/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS between a connection's socket and its bytes, by OpenSSL over memory: records in, plain bytes
 * out, and back. 1.2 and newer, no renegotiation, no compression. The certificate belongs to the
 * app, so that reading the manifest again reads it again; connections keep the one they began with.
 *
 * Threads: a connection's is its loop's; the context is immutable. Errors: manifest-invalid for
 * certificates and keys; whatever a client does wrong closes its connection.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "base/log.h"
#include "serve/serve_internal.h"

#define RECORD_BYTES 16384

/* ---- the context ---- */

static int pick_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                         const unsigned char *in, unsigned in_len, void *user) {
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)user;
    unsigned char *picked = NULL;
    if (SSL_select_next_proto(&picked, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *out = picked;
    return SSL_TLSEXT_ERR_OK;
}

static bool fail(const char *what, const char *path, struct gb_error **err) {
    char why[160];
    ERR_error_string_n(ERR_get_error(), why, sizeof why);
    ERR_clear_error();
    gb_fail(err, GB_MANIFEST_INVALID, "the %s \"%s\" cannot be used: %s", what, path, why);
    return gb_hint(err, "host.tls.cert is a PEM chain, its own certificate first; host.tls.key is "
                        "the PEM key of that.");
}

struct ssl_ctx_st *gb_tls_context_new(const struct gb_manifest_host *host, struct gb_error **err) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        gb_fail(err, GB_INTERNAL, "could not make a TLS context");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(ctx, pick_protocol, NULL);
    if ((SSL_CTX_use_certificate_chain_file(ctx, host->tls_cert) != 1 &&
         !fail("certificate", host->tls_cert, err)) ||
        (SSL_CTX_use_PrivateKey_file(ctx, host->tls_key, SSL_FILETYPE_PEM) != 1 &&
         !fail("key", host->tls_key, err)) ||
        (SSL_CTX_check_private_key(ctx) != 1 && !fail("key", host->tls_key, err))) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

void gb_tls_context_free(struct ssl_ctx_st *ctx) {
    SSL_CTX_free(ctx);
}

/* ---- a connection ---- */

bool gb_tls_begin(struct gb_conn *c, struct gb_error **err) {
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    c->ssl = SSL_new(c->loop->app->tls);
    if (!in || !out || !c->ssl) {
        BIO_free(in);
        BIO_free(out);
        return gb_fail(err, GB_INTERNAL, "no memory for a TLS connection");
    }
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(c->ssl, in, out);
    SSL_set_accept_state(c->ssl);
    return true;
}

void gb_tls_end(struct gb_conn *c) {
    SSL_free(c->ssl);
    c->ssl = NULL;
}

/* What OpenSSL wants to send, behind what waits already. */
static bool take_records(struct gb_conn *c) {
    BIO *out = SSL_get_wbio(c->ssl);
    char *bytes = NULL;
    long len = BIO_get_mem_data(out, &bytes);
    bool ok = len <= 0 || gb_buf_append(&c->records, bytes, (size_t)len, NULL);
    (void)BIO_reset(out);
    return ok;
}

bool gb_tls_seal(struct gb_conn *c) {
    size_t at = 0;
    if (!SSL_is_init_finished(c->ssl)) {
        return take_records(c);
    }
    while (at < c->wire.len) {
        size_t n = 0;
        if (SSL_write_ex(c->ssl, c->wire.ptr + at, c->wire.len - at, &n) != 1) {
            ERR_clear_error();
            return false;
        }
        at += n;
    }
    c->wire.len = 0;
    return take_records(c);
}

/* True: it is done, or goes on with the client's next bytes. */
static bool shake_hands(struct gb_conn *c) {
    int n = SSL_do_handshake(c->ssl);
    if (n == 1) {
        gb_conn_ready(c);
        return true;
    }
    bool goes_on = SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ;
    if (!goes_on) {
        char why[128];
        ERR_error_string_n(ERR_peek_error(), why, sizeof why);
        gb_log(GB_LOG_DEBUG, "a TLS handshake failed: %s", why);
    }
    ERR_clear_error();
    return goes_on;
}

void gb_tls_read(struct gb_conn *c, struct gb_span bytes) {
    BIO *in = SSL_get_rbio(c->ssl);
    uint8_t *plain = c->loop->plain_buffer;
    int taken = BIO_write(in, bytes.ptr, (int)bytes.len);
    bool ok = taken == (int)bytes.len && (SSL_is_init_finished(c->ssl) || shake_hands(c));
    size_t n = 0;
    while (ok && !c->closing && SSL_is_init_finished(c->ssl)) {
        if (SSL_read_ex(c->ssl, plain, RECORD_BYTES, &n) != 1) {
            int why = SSL_get_error(c->ssl, 0);
            ok = why == SSL_ERROR_WANT_READ;
            if (why == SSL_ERROR_ZERO_RETURN) {
                gb_conn_on_eof(c);
            }
            break;
        }
        c->input = gb_span_make(plain, n);
        gb_conn_pump(c);
        c->input = gb_span_make(NULL, 0);
    }
    ERR_clear_error();
    if (c->closing) {
        return;
    }
    gb_conn_send(c); /* alerts and the handshake's own records */
    if (!ok) {
        gb_conn_close(c);
    }
}

void gb_tls_shutdown(struct gb_conn *c) {
    (void)SSL_shutdown(c->ssl);
    ERR_clear_error();
    gb_conn_send(c);
}
