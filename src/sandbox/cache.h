/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache of compiled code. A file is header + code + MAC; the MAC is under a key of this host
 * and user that lies outside the folder. A file is copied into a memory file first, sealed, judged
 * there and loaded from there, so what was judged is what runs, whatever happens to the folder.
 *
 * Nothing here is an error to a run: without a folder or a key there is no cache, and an entry that
 * does not hold is as good as absent; both are counted and said by `glovebox doctor`.
 * Threads: any, after gb_cache_open. Ownership: embedded; gb_cache_close.
 */
#ifndef GB_SANDBOX_CACHE_H
#define GB_SANDBOX_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"

/* ---- the file (cache_format.c) ---- */

#define GB_SHA256_BYTES 32u
#define GB_NATIVE_HEADER_BYTES 96u
#define GB_NATIVE_MAC_BYTES 32u
#define GB_NATIVE_BYTES_MAX ((uint64_t)2 << 30)

/* What code is for: the digest of an engine's settings and versions, and that of the program. */
struct gb_native_id {
    uint8_t engine[GB_SHA256_BYTES];
    uint8_t program[GB_SHA256_BYTES];
};
struct gb_native {
    int fd; /* a memory file, sealed against every change; the code and nothing else */
    uint64_t len;
    bool is_component;
};
struct gb_cache_key {
    uint8_t bytes[32];
};

bool gb_sha256(struct gb_span bytes, uint8_t ret_digest[GB_SHA256_BYTES], struct gb_error **err);
/* Seals a memory file of len bytes. */
bool gb_native_seal(int fd, uint64_t len, struct gb_error **err);
void gb_native_fini(struct gb_native *c);
/* Whether a file begins as one of ours. */
bool gb_native_is_ours(struct gb_span file);
/* Reads a file from fd, or from memory, and judges it: artifact-untrusted unless the key vouches
 * for every byte. ret_id says what it is for; comparing that is the caller's. */
bool gb_native_read(int fd, const struct gb_cache_key *key, struct gb_native *ret_code,
                  struct gb_native_id *ret_id, struct gb_error **err);
bool gb_native_parse(struct gb_span file, const struct gb_cache_key *key,
                     struct gb_native *ret_code, struct gb_native_id *ret_id,
                     struct gb_error **err);
/* Writes header, code and MAC. */
bool gb_native_write(int fd, const struct gb_cache_key *key, const struct gb_native *code,
                   const struct gb_native_id *id, struct gb_error **err);
uint64_t gb_native_file_bytes(const struct gb_native *code);

/* ---- the key (cache_key.c) ---- */

/* path NULL: $XDG_STATE_HOME/glovebox/cache.key, ~/.local/state/glovebox/cache.key. Made on first
 * use; refused where anybody else could read or replace it. */
bool gb_cache_key_load(const char *path, struct gb_cache_key *ret_key, struct gb_error **err);

/* ---- the folder (cache.c) ---- */

struct gb_cache {
    int dir_fd;          /* -1: no cache */
    char *dir;           /* may be NULL */
    bool has_key;
    struct gb_cache_key key;
    uint64_t bytes_max;
    struct gb_error *off; /* why there is no cache, or no key */
    _Atomic uint64_t hits, misses, damaged, stored;
};
/* dir NULL: $GLOVEBOX_CACHE, $XDG_CACHE_HOME/glovebox, ~/.cache/glovebox. Never fails. */
void gb_cache_open(struct gb_cache *c, bool wanted, const char *dir, const char *key_path,
                   uint64_t bytes_max);
void gb_cache_close(struct gb_cache *c);
/* False: not there, or damaged. */
bool gb_cache_find(struct gb_cache *c, const struct gb_native_id *id, struct gb_native *ret_code);
/* Best effort; makes room first. */
void gb_cache_store(struct gb_cache *c, const struct gb_native_id *id,
                    const struct gb_native *code);
/* An entry that was whole and did not load: it is removed and counted. */
void gb_cache_reject(struct gb_cache *c, const struct gb_native_id *id, const char *why);

struct gb_cache_stats {
    uint64_t entries, bytes;
    uint64_t damaged; /* ever, as far as the folder remembers */
};
bool gb_cache_stats(const struct gb_cache *c, struct gb_cache_stats *ret);

/* Makes a folder and those above it, for us alone. */
bool gb_make_private_dirs(const char *path, struct gb_error **err);
/* A file's text beside a variable of the environment: $VARIABLE/TAIL or $HOME/HOME_TAIL. NULL
 * without error where neither is set to an absolute path. */
char *gb_user_path(const char *variable, const char *tail, const char *home_tail);

#endif
