/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs: compiled, diagnosed, linked once; called many times.
 * Threads: any; counted. Errors: as sandbox.h says for gb_program_load.
 */
#include <stdio.h>

#include "sandbox/sandbox_internal.h"

uint32_t gb_engine_kind(const struct gb_limits *limits, const struct gb_grants *grants) {
    return (limits->fuel ? GB_ENGINE_FUEL : 0u) | (grants->memory64 ? GB_ENGINE_MEMORY64 : 0u);
}

static enum gbw_entry bridge_entry(enum gb_entry entry) {
    switch (entry) {
    case GB_ENTRY_AGENT:
        return GBW_ENTRY_AGENT;
    case GB_ENTRY_COMMAND:
        return GBW_ENTRY_COMMAND;
    case GB_ENTRY_CALL:
        return GBW_ENTRY_CALL;
    case GB_ENTRY_HTTP:
        return GBW_ENTRY_HTTP;
    case GB_ENTRY_START:
        break;
    }
    return GBW_ENTRY_START;
}

static bool diagnose(struct gb_program *p, const struct gb_grants *grants, uint32_t *ret_flags,
                     struct gb_error **err) {
    struct gb_diagnosis d = {
        .program_name = p->name,
        .is_component = gbw_program_is_component(p->code),
        .grants = grants,
    };
    gbw_program_imports(p->code, gb_diagnose_import, &d);
    if (d.error) {
        return gb_error_move(err, d.error);
    }
    p->uses_nn = d.uses_nn;
    *ret_flags = d.link_flags;
    return true;
}

/* Sockets and HTTP stand on io and clocks of the same linker. */
static uint32_t with_needed(uint32_t flags, enum gb_entry entry) {
    flags |= entry == GB_ENTRY_HTTP || (flags & GBW_LINK_EGRESS) ? (uint32_t)GBW_LINK_HTTP : 0u;
    return flags | (flags & (GBW_LINK_SOCKETS | GBW_LINK_HTTP) ? (uint32_t)GBW_LINK_WASI : 0u);
}

static bool choose(struct gb_program *p, const char *call, struct gb_error **err) {
    if (p->entry == GB_ENTRY_HTTP) {
        return gb_check_http_entry(p->code, p->name, err);
    }
    if (!call) {
        return gb_choose_entry(p->code, p->name, &p->entry, err);
    }
    p->entry = GB_ENTRY_CALL;
    return gb_export_find(p->code, p->name, call, &p->pick, err);
}

static bool program_link(struct gb_program *p, const struct gb_grants *grants, const char *call,
                         struct gb_error **err) {
    uint32_t flags = 0;
    if (!diagnose(p, grants, &flags, err) || !choose(p, call, err)) {
        return false;
    }
    size_t customs_len = 0;
    struct gbw_custom *customs = gb_custom_bridge(grants, &customs_len, err);
    if (!customs) {
        return false;
    }
    struct gbw_link_more more = {
        .customs = customs,
        .customs_len = customs_len,
        .call_interface = gb_to_bridge(gb_span_of(p->pick.interface)),
        .call_name = gb_to_bridge(gb_span_of(p->pick.name)),
    };
    struct gbw_failure f = {0};
    p->linked = gbw_link_new(p->code, with_needed(flags, p->entry), bridge_entry(p->entry), &more,
                             &gb_call_host, &f);
    gb_free(customs);
    if (p->linked) {
        return !call || gb_signature_check(gb_program_signature(p), call, p->pick.type, err);
    }
    bool missing = f.kind == GBW_LINK;
    gb_failure_error(&f, "could not link the program", err);
    if (missing) {
        gb_hint(err, "Run `glovebox inspect %s` to see every import and what this host has.",
                p->name);
    }
    return false;
}

struct wanted {
    enum gb_entry entry; /* HTTP, or a call's */
    const char *call;    /* NULL, and not HTTP: the program's own entry is found */
};

static struct gb_program *program_load(struct gb_sandbox *s, const char *name,
                                       struct gb_span bytes, const struct gb_limits *limits,
                                       const struct gb_grants *grants, struct wanted wanted,
                                       struct gb_error **err) {
    struct gb_program *p = gb_calloc(1, sizeof *p, err);
    if (!p) {
        return NULL;
    }
    atomic_init(&p->refs, 1);
    p->sandbox = s;
    p->entry = wanted.entry;
    p->engine_kind = gb_engine_kind(limits, grants);
    p->name = gb_strdup(name, err);
    if (p->name) {
        p->code = gb_program_compile(s, name, bytes, p->engine_kind, limits->program_bytes, err);
    }
    if (!p->code || !program_link(p, grants, wanted.call, err)) {
        gb_program_unref(p);
        return NULL;
    }
    return p;
}

struct gb_program *gb_program_load(struct gb_sandbox *s, const char *name, struct gb_span bytes,
                                   const struct gb_limits *limits, const struct gb_grants *grants,
                                   struct gb_error **err) {
    return gb_program_load_call(s, name, bytes, limits, grants, NULL, err);
}

struct gb_program *gb_program_load_call(struct gb_sandbox *s, const char *name,
                                        struct gb_span bytes, const struct gb_limits *limits,
                                        const struct gb_grants *grants, const char *call,
                                        struct gb_error **err) {
    return program_load(s, name, bytes, limits, grants,
                        (struct wanted){.entry = GB_ENTRY_CALL, .call = call}, err);
}

struct gb_program *gb_program_load_http(struct gb_sandbox *s, const char *name,
                                        struct gb_span bytes, const struct gb_limits *limits,
                                        const struct gb_grants *grants, struct gb_error **err) {
    return program_load(s, name, bytes, limits, grants,
                        (struct wanted){.entry = GB_ENTRY_HTTP}, err);
}

struct gb_program *gb_program_ref(struct gb_program *p) {
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void gb_program_unref(struct gb_program *p) {
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    if (p->linked) {
        gbw_link_free(p->linked);
    }
    if (p->code) {
        gbw_program_free(p->code);
    }
    gb_export_pick_fini(&p->pick);
    gb_free(p->name);
    gb_free(p);
}

enum gb_entry gb_program_entry(const struct gb_program *p) {
    return p->entry;
}

const struct gb_signature *gb_program_signature(const struct gb_program *p) {
    return gbw_linked_signature(p->linked);
}

const char *gb_program_call_type(const struct gb_program *p) {
    return p->pick.type;
}

bool gb_program_uses_nn(const struct gb_program *p) {
    return p->uses_nn;
}
