/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a file to a program: from the cache, by the compiler, or, for a file that `glovebox compile`
 * wrote, from the file itself when our key vouches for it. Native code that we did not make is
 * never loaded.
 *
 * Threads: any. Errors: as sandbox.h says for gb_program_load, and artifact-untrusted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/locate.h"
#include "compiler/compiler.h"
#include "sandbox/compile.h"

char *gb_sandbox_compiler(struct gb_sandbox *s, struct gb_error **err) {
    return gb_locate_program(
        &(struct gb_locate){
            .program = GB_COMPILER_PROGRAM,
            .role = "compiler",
            .named = s->options.compiler_path,
            .variable = "GLOVEBOX_COMPILER",
            .hint = "Set GLOVEBOX_COMPILER to the " GB_COMPILER_PROGRAM " program."},
        err);
}

struct gb_cache *gb_sandbox_cache(struct gb_sandbox *s) {
    pthread_mutex_lock(&s->lock);
    if (!s->cache_open) {
        const struct gb_sandbox_options *o = &s->options;
        gb_cache_open(&s->cache, o->cache, o->cache_dir, o->key_path, o->cache_bytes_max);
        s->cache_open = true;
    }
    pthread_mutex_unlock(&s->lock);
    return &s->cache;
}

/* Everything that decides whether code fits: our format's and version's names, too. */
static bool engine_digest(const struct gbw_engine *e, uint32_t kind,
                          uint8_t ret_digest[GB_SHA256_BYTES], struct gb_error **err) {
    struct gbw_failure f = {0};
    struct gbw_bytes settings = {0};
    if (!gbw_engine_compatibility(e, &settings, &f)) {
        return gb_failure_error(&f, "could not describe the engine", err);
    }
    struct gb_buf all;
    gb_buf_init(&all, settings.len + 1024);
    bool ok = gb_buf_append_format(&all, err, "glovebox %s, bridge %u, %s, engine %u\n",
                                   GB_VERSION, GBW_ABI, gbw_version(), kind) &&
              gb_buf_append(&all, settings.ptr, settings.len, err) &&
              gb_sha256(gb_buf_span(&all), ret_digest, err);
    gbw_bytes_free(&settings);
    gb_buf_fini(&all);
    return ok;
}

static struct gbw_program *load(struct gbw_engine *e, const char *name,
                                const struct gb_native *code, uint32_t *ret_kind,
                                struct gb_error **err) {
    struct gbw_failure f = {0};
    struct gbw_program *p = gbw_program_from_code(e, code->fd, code->is_component, &f);
    if (!p) {
        char quoted[GB_QUOTE_CAP];
        char what[GB_QUOTE_CAP + 64];
        snprintf(what, sizeof what, "could not load the code of \"%.300s\"",
                 gb_text_quote(gb_span_of(name), quoted));
        *ret_kind = f.kind;
        gb_failure_error(&f, what, err);
    }
    return p;
}

/* The program asks for more than the engine has, whoever compiled it. */
static bool is_limit(uint32_t kind) {
    return kind == GBW_LIMIT_MEMORY || kind == GBW_LIMIT_TABLE || kind == GBW_LIMIT_INSTANCES ||
           kind == GBW_ADDRESS_SPACE;
}

static bool compile(struct gb_sandbox *s, const char *name, struct gb_span bytes, uint32_t kind,
                    struct gb_native *ret_code, struct gb_error **err) {
    struct gbw_engine_config config;
    gb_sandbox_engine_config(s, kind, &config);
    return gb_compile_in_child(s, name, bytes, &config, ret_code, err);
}

/* ---- programs ---- */

static struct gbw_program *from_cache(struct gb_cache *cache, struct gbw_engine *e,
                                      const char *name, const struct gb_native_id *id,
                                      bool *ret_final, struct gb_error **err) {
    struct gb_native code;
    if (!gb_cache_find(cache, id, &code)) {
        return NULL;
    }
    struct gb_error *why = NULL;
    uint32_t kind = GBW_NONE;
    struct gbw_program *p = load(e, name, &code, &kind, &why);
    gb_native_fini(&code);
    if (!p && is_limit(kind)) {
        *ret_final = true;
        gb_error_move(err, why);
    } else if (!p) {
        gb_cache_reject(cache, id, why->message);
        gb_error_free(why);
    }
    return p;
}

static struct gbw_program *from_wasm(struct gb_sandbox *s, const char *name, struct gb_span bytes,
                                     uint32_t kind, struct gb_error **err) {
    struct gbw_engine *e = gb_sandbox_engine(s, kind, err);
    struct gb_native_id id;
    if (!e || !engine_digest(e, kind, id.engine, err) || !gb_sha256(bytes, id.program, err)) {
        return NULL;
    }
    struct gb_cache *cache = gb_sandbox_cache(s);
    bool final = false;
    struct gbw_program *p = from_cache(cache, e, name, &id, &final, err);
    struct gb_native code;
    if (p || final || !compile(s, name, bytes, kind, &code, err)) {
        return p;
    }
    uint32_t failure = GBW_NONE;
    p = load(e, name, &code, &failure, err);
    if (p) {
        gb_cache_store(cache, &id, &code);
    }
    gb_native_fini(&code);
    return p;
}

/* ---- files of compiled code ---- */

static bool need_key(struct gb_cache *cache, struct gb_error **err) {
    if (cache->has_key) {
        return true;
    }
    if (!cache->off) {
        return gb_fail(err, GB_INTERNAL, "there is no key, and memory ran out");
    }
    gb_fail(err, cache->off->code, "%s", cache->off->message);
    return cache->off->hint ? gb_hint(err, "%s", cache->off->hint) : false;
}

static bool untrusted(const char *name, const char *why, struct gb_error *cause,
                      struct gb_error **err) {
    char quoted[GB_QUOTE_CAP];
    gb_fail(err, GB_ARTIFACT_UNTRUSTED, "\"%s\" is %s",
            gb_text_quote(gb_span_of(name), quoted), why);
    gb_error_set_cause(err, cause);
    return gb_hint(err, "Give the WebAssembly program itself, or compile it here with "
                        "`glovebox compile`.");
}

static struct gbw_program *from_artifact(struct gb_sandbox *s, const char *name,
                                         struct gb_span bytes, uint32_t kind,
                                         struct gb_error **err) {
    struct gb_cache *cache = gb_sandbox_cache(s);
    struct gb_error *why = NULL;
    struct gb_native code;
    struct gb_native_id id;
    if (!need_key(cache, &why) || !gb_native_parse(bytes, &cache->key, &code, &id, &why)) {
        if (cache->has_key && why->code != GB_ARTIFACT_UNTRUSTED) {
            gb_error_move(err, why); /* ours to judge, but we could not */
            return NULL;
        }
        untrusted(name, "compiled code that our key does not vouch for", why, err);
        return NULL;
    }
    uint8_t engine[GB_SHA256_BYTES];
    struct gbw_engine *e = gb_sandbox_engine(s, kind, err);
    struct gbw_program *p = NULL;
    uint32_t failure = GBW_NONE;
    if (e && engine_digest(e, kind, engine, err)) {
        if (memcmp(engine, id.engine, sizeof engine) == 0) {
            p = load(e, name, &code, &failure, err);
        } else {
            untrusted(name, "compiled code for another version or other settings (such as --fuel)",
                      NULL, err);
        }
    }
    gb_native_fini(&code);
    return p;
}

static bool is_native(struct gb_span bytes) {
    static const uint8_t elf[4] = {0x7f, 'E', 'L', 'F'};
    return bytes.len >= sizeof elf && memcmp(bytes.ptr, elf, sizeof elf) == 0;
}

static bool size_ok(const char *name, struct gb_span bytes, uint64_t bytes_max,
                    struct gb_error **err) {
    if (bytes.len <= bytes_max) {
        return true;
    }
    char is[GB_AMOUNT_CAP];
    char limit[GB_AMOUNT_CAP];
    return gb_fail(err, GB_PROGRAM_TOO_LARGE, "\"%s\" has %s; the limit is %s", name,
                   gb_text_bytes(bytes.len, is), gb_text_bytes(bytes_max, limit));
}

struct gbw_program *gb_program_compile(struct gb_sandbox *s, const char *name, struct gb_span bytes,
                                       uint32_t engine_kind, uint64_t bytes_max,
                                       struct gb_error **err) {
    if (gb_native_is_ours(bytes)) {
        return from_artifact(s, name, bytes, engine_kind, err);
    }
    if (is_native(bytes)) {
        untrusted(name, "native code that this host did not make", NULL, err);
        return NULL;
    }
    return size_ok(name, bytes, bytes_max, err) ? from_wasm(s, name, bytes, engine_kind, err)
                                                : NULL;
}

#define CODE_PER_PROGRAM 16u

uint64_t gb_program_file_bytes_max(const char *path, const struct gb_limits *limits) {
    uint8_t head[8] = {0};
    int fd = gb_file_open(path, NULL);
    bool ours = fd >= 0 &&
                gb_sys(GB_SYS_READ, -1, pread(fd, head, sizeof head, 0)) == (ssize_t)sizeof head &&
                gb_native_is_ours(gb_span_make(head, sizeof head));
    gb_fd_close(&fd);
    return ours ? limits->program_bytes * CODE_PER_PROGRAM : limits->program_bytes;
}

/* The file is written beside its place and renamed, so that nobody sees half of it. */
static bool write_artifact(const char *out_path, const struct gb_cache_key *key,
                           const struct gb_native *code, const struct gb_native_id *id,
                           struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup)
    char *temporary = gb_format(err, "%s.new-%ld", out_path, (long)getpid());
    if (!temporary) {
        return false;
    }
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
    if (fd < 0) {
        gb_fail_errno(err, GB_IO, errno, "could not write \"%s\": %s", out_path, strerror(errno));
        return gb_hint(err, "Give a path in a folder that exists and can be written.");
    }
    bool ok = gb_native_write(fd, key, code, id, err);
    ok = close(fd) == 0 && ok;
    if (ok && gb_sys(GB_SYS_RENAME, -1, rename(temporary, out_path)) == 0) {
        return true;
    }
    gb_fail_errno(err, GB_IO, errno, "could not write \"%s\": %s", out_path, strerror(errno));
    (void)unlink(temporary);
    return false;
}

/* Whether a host with these grants has what the program imports. */
static bool imports_ok(struct gbw_engine *e, const char *name, const struct gb_native *code,
                       const struct gb_grants *grants, struct gb_error **err) {
    uint32_t failure = GBW_NONE;
    struct gbw_program *p = load(e, name, code, &failure, err);
    if (!p) {
        return false;
    }
    struct gb_diagnosis d = {
        .program_name = name, .is_component = gbw_program_is_component(p), .grants = grants};
    gbw_program_imports(p, gb_diagnose_import, &d);
    gbw_program_free(p);
    return !d.error || gb_error_move(err, d.error);
}

bool gb_program_compile_to(struct gb_sandbox *s, const char *name, struct gb_span bytes,
                           const struct gb_limits *limits, const struct gb_grants *grants,
                           const char *out_path, struct gb_error **err) {
    uint32_t kind = gb_engine_kind(limits, grants ? grants : &(struct gb_grants){0});
    struct gb_cache *cache = gb_sandbox_cache(s);
    struct gbw_engine *e = NULL;
    struct gb_native_id id;
    struct gb_native code;
    if (gb_native_is_ours(bytes) || is_native(bytes)) {
        gb_fail(err, GB_INVALID_ARGUMENT, "\"%s\" is compiled already", name);
        return gb_hint(err, "Give the WebAssembly program.");
    }
    if (!size_ok(name, bytes, limits->program_bytes, err) || !need_key(cache, err) ||
        !(e = gb_sandbox_engine(s, kind, err)) || !engine_digest(e, kind, id.engine, err) ||
        !gb_sha256(bytes, id.program, err) || !compile(s, name, bytes, kind, &code, err)) {
        return false;
    }
    bool ok = (!grants || imports_ok(e, name, &code, grants, err)) &&
              write_artifact(out_path, &cache->key, &code, &id, err);
    gb_native_fini(&code);
    return ok;
}

struct gb_cache_counts gb_sandbox_cache_counts(struct gb_sandbox *s) {
    struct gb_cache *c = gb_sandbox_cache(s);
    return (struct gb_cache_counts){.hits = atomic_load(&c->hits),
                                    .misses = atomic_load(&c->misses),
                                    .damaged = atomic_load(&c->damaged),
                                    .stored = atomic_load(&c->stored)};
}

bool gb_sandbox_native_facts(struct gb_sandbox *s, struct gb_native_facts *ret,
                             struct gb_error **err) {
    static const uint8_t empty_module[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    *ret = (struct gb_native_facts){0};
    struct gb_cache *cache = gb_sandbox_cache(s);
    struct gb_cache_stats stats;
    ret->cache = gb_cache_stats(cache, &stats);
    if (ret->cache) {
        ret->entries = stats.entries;
        ret->bytes = stats.bytes;
        ret->damaged = stats.damaged;
    }
    snprintf(ret->cache_text, sizeof ret->cache_text, "%s",
             cache->off ? cache->off->message : cache->dir ? cache->dir : "off");
    struct gb_native code;
    if (!gb_sandbox_engine(s, 0, err) ||
        !compile(s, "an empty module", gb_span_make(empty_module, sizeof empty_module), 0, &code,
                 err)) {
        return false;
    }
    gb_native_fini(&code);
    return true;
}
