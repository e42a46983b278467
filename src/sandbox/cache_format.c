/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of compiled code. Numbers are little-endian; lengths are compared with what is there
 * before anything is allocated or read by them.
 *
 *    0  magic "\0gbxcode"      16  digest of the engine's settings and versions
 *    8  u32 format (1)         48  digest of the program
 *   12  u32 flags (1: component)   80  u64 length of the code    88  zero
 *   96  code …  then HMAC-SHA256 of all before it
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "sandbox/cache.h"

#define FORMAT 1u
#define FLAG_COMPONENT 1u
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
static const uint8_t magic[8] = {0, 'g', 'b', 'x', 'c', 'o', 'd', 'e'};

/* A file apart: header and MAC in our memory, the code in a sealed memory file. */
struct parts {
    uint8_t header[GB_NATIVE_HEADER_BYTES];
    uint8_t mac[GB_NATIVE_MAC_BYTES];
    struct gb_native code;
};

static void put(uint8_t *at, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint64_t get(const uint8_t *at, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

static bool crypto_fail(struct gb_error **err) {
    return gb_fail(err, GB_INTERNAL, "the cryptographic library could not compute a digest");
}

bool gb_sha256(struct gb_span bytes, uint8_t ret_digest[GB_SHA256_BYTES], struct gb_error **err) {
    unsigned len = 0;
    return EVP_Digest(bytes.ptr, bytes.len, ret_digest, &len, EVP_sha256(), NULL) == 1 ||
           crypto_fail(err);
}

static bool mac_of(const struct gb_cache_key *key, const uint8_t *header, const void *code,
                   uint64_t len, uint8_t ret_mac[GB_NATIVE_MAC_BYTES], struct gb_error **err) {
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {{"digest", OSSL_PARAM_UTF8_STRING, digest, sizeof digest - 1, 0},
                           {NULL, 0, NULL, 0, 0}};
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    size_t made = 0;
    bool ok = ctx && EVP_MAC_init(ctx, key->bytes, sizeof key->bytes, params) == 1 &&
              EVP_MAC_update(ctx, header, GB_NATIVE_HEADER_BYTES) == 1 &&
              EVP_MAC_update(ctx, code, (size_t)len) == 1 &&
              EVP_MAC_final(ctx, ret_mac, &made, GB_NATIVE_MAC_BYTES) == 1 &&
              made == GB_NATIVE_MAC_BYTES;
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(hmac);
    return ok || crypto_fail(err);
}

static bool untrusted(struct gb_error **err, const char *why) {
    return gb_fail(err, GB_ARTIFACT_UNTRUSTED, "the compiled code is not ours: %s", why);
}

void gb_native_fini(struct gb_native *c) {
    gb_fd_close(&c->fd);
    *c = (struct gb_native){.fd = -1};
}

bool gb_native_seal(int fd, uint64_t len, struct gb_error **err) {
    struct stat st;
    if (gb_sys(GB_SYS_SEAL, -1, fcntl(fd, F_ADD_SEALS, SEALS)) != 0) {
        return gb_fail_errno(err, GB_IO, errno, "a memory file could not be sealed: %s",
                             strerror(errno));
    }
    if (gb_sys(GB_SYS_STAT, -1, fstat(fd, &st)) != 0) {
        return gb_fail_errno(err, GB_IO, errno, "a memory file could not be measured: %s",
                             strerror(errno));
    }
    if ((uint64_t)st.st_size != len) {
        return gb_fail(err, GB_INTERNAL, "a memory file has another size than it was given");
    }
    return true;
}

bool gb_native_is_ours(struct gb_span file) {
    return file.len >= sizeof magic && memcmp(file.ptr, magic, sizeof magic) == 0;
}

/* Whether header and size of the file fit each other. Says how long the code is. */
static bool header_check(const uint8_t *header, uint64_t file_bytes, uint64_t *ret_len,
                         struct gb_error **err) {
    if (memcmp(header, magic, sizeof magic) != 0) {
        return untrusted(err, "it begins otherwise");
    }
    if (get(header + 8, 4) != FORMAT) {
        return untrusted(err, "it has another format");
    }
    uint64_t len = get(header + 80, 8);
    if (len == 0 || len > GB_NATIVE_BYTES_MAX ||
        len != file_bytes - GB_NATIVE_HEADER_BYTES - GB_NATIVE_MAC_BYTES) {
        return untrusted(err, "its length is not the one it names");
    }
    *ret_len = len;
    return true;
}

static bool size_check(uint64_t file_bytes, struct gb_error **err) {
    return file_bytes > GB_NATIVE_HEADER_BYTES + GB_NATIVE_MAC_BYTES ||
           untrusted(err, "it is cut off");
}

/* The judgement, on memory that nobody can change any more. */
static bool judge(const struct parts *p, const struct gb_cache_key *key, struct gb_error **err) {
    void *code = gb_sys(GB_SYS_MMAP, MAP_FAILED,
                        mmap(NULL, (size_t)p->code.len, PROT_READ, MAP_SHARED, p->code.fd, 0));
    if (code == MAP_FAILED) {
        return gb_fail_errno(err, GB_IO, errno, "a memory file could not be mapped: %s",
                             strerror(errno));
    }
    uint8_t mac[GB_NATIVE_MAC_BYTES];
    bool ok = mac_of(key, p->header, code, p->code.len, mac, err);
    munmap(code, (size_t)p->code.len);
    if (!ok) {
        return false;
    }
    return CRYPTO_memcmp(mac, p->mac, sizeof mac) == 0 ||
           untrusted(err, "its MAC is not by this host's key");
}

static bool finish(struct parts *p, const struct gb_cache_key *key, struct gb_native *ret_code,
                   struct gb_native_id *ret_id, struct gb_error **err) {
    if (!gb_native_seal(p->code.fd, p->code.len, err) || !judge(p, key, err)) {
        return false;
    }
    p->code.is_component = (get(p->header + 12, 4) & FLAG_COMPONENT) != 0;
    memcpy(ret_id->engine, p->header + 16, GB_SHA256_BYTES);
    memcpy(ret_id->program, p->header + 48, GB_SHA256_BYTES);
    *ret_code = p->code;
    p->code.fd = -1; /* handed over */
    return true;
}

static bool read_exactly(int fd, void *bytes, size_t len, off_t at) {
    uint8_t *to = bytes;
    while (len > 0) {
        ssize_t n = gb_sys(GB_SYS_READ, -1, pread(fd, to, len, at));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        to += n;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool copy_code(int fd, int memory_fd, uint64_t len, struct gb_error **err) {
    off_t at = GB_NATIVE_HEADER_BYTES;
    while (len > 0) {
        ssize_t n = gb_sys(GB_SYS_READ, -1,
                           sendfile(memory_fd, fd, &at, (size_t)GB_MIN(len, GB_GIB)));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return gb_fail_errno(err, GB_IO, n < 0 ? errno : 0, "compiled code could not be read");
        }
        len -= (uint64_t)n;
    }
    return true;
}

bool gb_native_read(int fd, const struct gb_cache_key *key, struct gb_native *ret_code,
                  struct gb_native_id *ret_id, struct gb_error **err) {
    struct parts p = {.code = {.fd = -1}};
    struct stat st;
    if (gb_sys(GB_SYS_STAT, -1, fstat(fd, &st)) != 0) {
        return gb_fail_errno(err, GB_IO, errno, "compiled code could not be read: %s",
                             strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return untrusted(err, "it is no file");
    }
    uint64_t bytes = (uint64_t)st.st_size;
    bool ok = size_check(bytes, err);
    if (ok && (!read_exactly(fd, p.header, sizeof p.header, 0) ||
               !read_exactly(fd, p.mac, sizeof p.mac, (off_t)(bytes - sizeof p.mac)))) {
        ok = gb_fail(err, GB_IO, "compiled code could not be read");
    }
    ok = ok && header_check(p.header, bytes, &p.code.len, err);
    if (ok) {
        p.code.fd = gb_memfd_new("glovebox-code", err);
        ok = p.code.fd >= 0 && copy_code(fd, p.code.fd, p.code.len, err) &&
             finish(&p, key, ret_code, ret_id, err);
    }
    gb_fd_close(&p.code.fd);
    return ok;
}

bool gb_native_parse(struct gb_span file, const struct gb_cache_key *key,
                     struct gb_native *ret_code, struct gb_native_id *ret_id,
                     struct gb_error **err) {
    struct parts p = {.code = {.fd = -1}};
    if (!size_check(file.len, err) || !header_check(file.ptr, file.len, &p.code.len, err)) {
        return false;
    }
    memcpy(p.header, file.ptr, sizeof p.header);
    memcpy(p.mac, file.ptr + file.len - sizeof p.mac, sizeof p.mac);
    p.code.fd = gb_memfd_new("glovebox-code", err);
    bool ok = p.code.fd >= 0 &&
              gb_write_all(p.code.fd, file.ptr + GB_NATIVE_HEADER_BYTES, (size_t)p.code.len, err) &&
              finish(&p, key, ret_code, ret_id, err);
    gb_fd_close(&p.code.fd);
    return ok;
}

uint64_t gb_native_file_bytes(const struct gb_native *code) {
    return GB_NATIVE_HEADER_BYTES + code->len + GB_NATIVE_MAC_BYTES;
}

bool gb_native_write(int fd, const struct gb_cache_key *key, const struct gb_native *code,
                   const struct gb_native_id *id, struct gb_error **err) {
    uint8_t header[GB_NATIVE_HEADER_BYTES] = {0};
    uint8_t mac[GB_NATIVE_MAC_BYTES];
    memcpy(header, magic, sizeof magic);
    put(header + 8, FORMAT, 4);
    put(header + 12, code->is_component ? FLAG_COMPONENT : 0, 4);
    memcpy(header + 16, id->engine, GB_SHA256_BYTES);
    memcpy(header + 48, id->program, GB_SHA256_BYTES);
    put(header + 80, code->len, 8);
    void *bytes = gb_sys(GB_SYS_MMAP, MAP_FAILED,
                         mmap(NULL, (size_t)code->len, PROT_READ, MAP_SHARED, code->fd, 0));
    if (bytes == MAP_FAILED) {
        return gb_fail_errno(err, GB_IO, errno, "a memory file could not be mapped: %s",
                             strerror(errno));
    }
    bool ok = mac_of(key, header, bytes, code->len, mac, err) &&
              gb_write_all(fd, header, sizeof header, err) &&
              gb_write_all(fd, bytes, (size_t)code->len, err) &&
              gb_write_all(fd, mac, sizeof mac, err);
    munmap(bytes, (size_t)code->len);
    return ok;
}
