/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox itself: one runtime, and an engine per combination of settings that cannot change
 * afterwards (fuel, memory64), each made on first use.
 *
 * Pooling reserves address space for every slot at once. Where that is refused (a limit on address
 * space), the sandbox goes on without a pool, remembers why, and says so in its facts.
 * Threads: any; a lock while an engine is made. Errors: internal.
 */
#include <signal.h>
#include <stdio.h>

#include "sandbox/sandbox_internal.h"

#define BLOCKING_THREADS_MAX 4u
#define CORE_INSTANCES_PER_CALL_MAX 256u
/* Room for the host's own frames on a fiber, above what wasm may use. */
#define HOST_STACK_BYTES (1536 * GB_KIB)

struct gb_sandbox_options gb_sandbox_options_default(void) {
    return (struct gb_sandbox_options){
        .stack_bytes = 512 * GB_KIB,
        .memory_bytes_max = 64 * GB_MIB,
        .calls_max = 16,
        .pooling = true,
        .compile_cpu_s = 30,
        .compile_memory_bytes = 2 * GB_GIB,
        .cache_bytes_max = GB_GIB,
    };
}

static bool options_check(const struct gb_sandbox_options *o, struct gb_error **err) {
    char text[GB_AMOUNT_CAP];
    if (o->stack_bytes < 64 * GB_KIB || o->stack_bytes > 64 * GB_MIB) {
        gb_fail(err, GB_INVALID_ARGUMENT, "a stack of %s is not possible",
                gb_text_bytes(o->stack_bytes, text));
        return gb_hint(err, "Give --stack a size from 64KiB to 64MiB.");
    }
    if (o->memory_bytes_max > GB_MEMORY_BYTES_MAX) {
        gb_fail(err, GB_INVALID_ARGUMENT, "a memory of %s is not possible",
                gb_text_bytes(o->memory_bytes_max, text));
        return gb_hint(err, "A call can have up to 8 GiB, and up to 4 GiB in one 32-bit memory.");
    }
    if (o->calls_max == 0 || o->calls_max > 4096) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "%u calls at once are not possible", o->calls_max);
    }
    return true;
}

/* Threads started meanwhile must not take the process's signals. */
static void block_signals(sigset_t *ret_old) {
    sigset_t all;
    sigfillset(&all);
    const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    for (size_t i = 0; i < GB_COUNT(synchronous); i++) {
        sigdelset(&all, synchronous[i]);
    }
    pthread_sigmask(SIG_BLOCK, &all, ret_old);
}

static bool own_text(const char **text, struct gb_error **err) {
    const char *given = *text;
    *text = given ? gb_strdup(given, err) : NULL;
    return !given || *text;
}

/* The caller's may be gone by the time they are needed. */
static bool own_texts(struct gb_sandbox_options *o, struct gb_error **err) {
    bool compiler = own_text(&o->compiler_path, err);
    bool dir = own_text(&o->cache_dir, err);
    bool key = own_text(&o->key_path, err);
    return compiler && dir && key;
}

static void free_texts(struct gb_sandbox_options *o) {
    gb_free((char *)(uintptr_t)o->compiler_path);
    gb_free((char *)(uintptr_t)o->cache_dir);
    gb_free((char *)(uintptr_t)o->key_path);
}

struct gb_sandbox *gb_sandbox_new(const struct gb_sandbox_options *options, struct gb_error **err) {
    if (gbw_abi() != GBW_ABI) {
        gb_fail(err, GB_INTERNAL, "the bridge has interface %u, this program needs %u", gbw_abi(),
                GBW_ABI);
        return NULL;
    }
    if (!options_check(options, err)) {
        return NULL;
    }
    struct gb_sandbox *s = gb_calloc(1, sizeof *s, err);
    if (!s) {
        return NULL;
    }
    s->options = *options;
    if (!own_texts(&s->options, err)) {
        free_texts(&s->options);
        gb_free(s);
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->kept_lock, NULL);
    if (s->options.host_account) {
        gb_account_ref(s->options.host_account);
    }
    if (!options->pooling) {
        snprintf(s->pooling_reason, sizeof s->pooling_reason, "switched off");
    }
    sigset_t old;
    block_signals(&old);
    struct gbw_failure f = {0};
    s->runtime = gbw_runtime_new(BLOCKING_THREADS_MAX, &f);
    bool ok = s->runtime ? gb_ticker_init(&s->ticker, err)
                         : gb_failure_error(&f, "could not start the runtime", err);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!ok) {
        gb_sandbox_free(s);
        return NULL;
    }
    return s;
}

void gb_sandbox_free(struct gb_sandbox *s) {
    if (!s) {
        return;
    }
    gb_ticker_fini(&s->ticker);
    for (size_t i = 0; i < GB_ENGINE_COUNT; i++) {
        struct gbw_engine *e = atomic_load(&s->ticker.engines[i]);
        if (e) {
            gbw_engine_free(e);
        }
    }
    if (s->runtime) {
        gbw_runtime_free(s->runtime);
    }
    if (s->cache_open) {
        gb_cache_close(&s->cache);
    }
    free_texts(&s->options);
    if (s->options.host_account) {
        gb_uncharge(s->options.host_account, GB_CHARGE_KEPT, atomic_load(&s->kept_bytes));
        gb_account_unref(s->options.host_account);
    }
    pthread_mutex_destroy(&s->kept_lock);
    pthread_mutex_destroy(&s->lock);
    gb_free(s);
}

static uint64_t pools_keep(struct gb_sandbox *s) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < GB_ENGINE_COUNT; i++) {
        const struct gbw_engine *e = atomic_load(&s->ticker.engines[i]);
        bytes += e ? gbw_engine_kept_bytes(e) : 0;
    }
    return bytes;
}

/* The pool cannot give its idle slots back one by one, so this only says what is so: where the
 * account is full they stay uncharged until there is room. */
void gb_sandbox_settle_kept(struct gb_sandbox *s) {
    struct gb_account *account = s->options.host_account;
    if (!account || pools_keep(s) == atomic_load_explicit(&s->kept_bytes, memory_order_relaxed)) {
        return;
    }
    pthread_mutex_lock(&s->kept_lock);
    uint64_t bytes = pools_keep(s);
    uint64_t before = atomic_load(&s->kept_bytes);
    if (bytes < before) {
        gb_uncharge(account, GB_CHARGE_KEPT, before - bytes);
        atomic_store(&s->kept_bytes, bytes);
    } else if (gb_charge_kept(account, bytes - before)) {
        atomic_store(&s->kept_bytes, bytes);
    }
    pthread_mutex_unlock(&s->kept_lock);
}

static struct gbw_engine_config engine_config(const struct gb_sandbox *s, uint32_t kind,
                                              bool pooling) {
    const struct gb_sandbox_options *o = &s->options;
    /* 64-bit memories are few and large: made when a call needs one, not kept in slots. */
    pooling = pooling && !(kind & GB_ENGINE_MEMORY64);
    uint64_t slot_bytes = gb_round_up_u64(GB_MAX(o->memory_bytes_max, 64 * GB_KIB), 64 * GB_KIB);
    return (struct gbw_engine_config){
        .fuel = kind & GB_ENGINE_FUEL,
        .memory64 = kind & GB_ENGINE_MEMORY64,
        .pooling = pooling,
        .wasm_stack_bytes = o->stack_bytes,
        .async_stack_bytes = o->stack_bytes + HOST_STACK_BYTES,
        /* 4 GiB and the guard make bounds checks unnecessary; without a pool address space is
         * short, so checks are the cheaper price. */
        .memory_reservation_bytes = pooling ? GB_MAX(4 * GB_GIB, slot_bytes) : slot_bytes,
        .memory_guard_bytes = pooling ? 32 * GB_MIB : 64 * GB_KIB,
        .component_handles_max = GB_HANDLES_PER_CALL_MAX,
        .pool_calls = o->calls_max,
        .pool_core_instances = o->calls_max * 64,
        .pool_memories = o->calls_max * 2,
        .pool_tables = o->calls_max * 32,
        .core_instances_per_call_max = CORE_INSTANCES_PER_CALL_MAX,
        .memories_per_call_max = GB_MEMORIES_PER_CALL_MAX,
        .tables_per_call_max = GB_TABLES_PER_CALL_MAX,
        .pool_memory_bytes_max = slot_bytes,
        .pool_table_elements_max = GB_POOL_TABLE_ELEMENTS_MAX,
        /* Cleared after every call, whether used or not, so more would make every call slower; and
         * looking up which pages were used (PAGEMAP_SCAN) leaves swapped pages as they were. */
        .pool_keep_resident_bytes = 256 * GB_KIB,
    };
}

void gb_sandbox_engine_config(struct gb_sandbox *s, uint32_t kind,
                              struct gbw_engine_config *ret_config) {
    pthread_mutex_lock(&s->lock);
    *ret_config = engine_config(s, kind, s->options.pooling && !s->pooling_lost);
    pthread_mutex_unlock(&s->lock);
}

static struct gbw_engine *engine_make(struct gb_sandbox *s, uint32_t kind, struct gb_error **err) {
    struct gbw_failure f = {0};
    if (s->options.pooling && !s->pooling_lost && !(kind & GB_ENGINE_MEMORY64)) {
        struct gbw_engine_config config = engine_config(s, kind, true);
        struct gbw_engine *e = gbw_engine_new(s->runtime, &config, &f);
        if (e) {
            return e;
        }
        s->pooling_lost = true;
        char line[GB_QUOTE_CAP];
        snprintf(s->pooling_reason, sizeof s->pooling_reason, "%.150s",
                 gb_text_quote(gb_of_bridge_string(&f.message), line));
        gbw_failure_fini(&f);
        f = (struct gbw_failure){0};
    }
    struct gbw_engine_config config = engine_config(s, kind, false);
    struct gbw_engine *e = gbw_engine_new(s->runtime, &config, &f);
    if (!e) {
        gb_failure_error(&f, "could not make an engine", err);
    }
    return e;
}

struct gbw_engine *gb_sandbox_engine(struct gb_sandbox *s, uint32_t kind, struct gb_error **err) {
    struct gbw_engine *e = atomic_load(&s->ticker.engines[kind]);
    if (e) {
        return e;
    }
    pthread_mutex_lock(&s->lock);
    e = atomic_load(&s->ticker.engines[kind]);
    if (!e) {
        sigset_t old;
        block_signals(&old);
        e = engine_make(s, kind, err);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        atomic_store(&s->ticker.engines[kind], e);
    }
    pthread_mutex_unlock(&s->lock);
    return e;
}

bool gb_sandbox_facts(struct gb_sandbox *s, struct gb_sandbox_facts *ret, struct gb_error **err) {
    if (!gb_sandbox_engine(s, 0, err)) {
        return false;
    }
    pthread_mutex_lock(&s->lock);
    struct gb_sandbox_facts facts = {
        .engine = gbw_version(),
        .pooling = s->options.pooling && !s->pooling_lost,
    };
    memcpy(facts.pooling_reason, s->pooling_reason, sizeof facts.pooling_reason);
    pthread_mutex_unlock(&s->lock);
    *ret = facts;
    return true;
}
