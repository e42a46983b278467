/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the public library share: the objects behind the opaque types. A host owns the
 * accounts, the registry, the sandbox and one runner; guests and calls belong to a host.
 *
 * Threads: a host and all of its objects belong to one thread at a time.
 */
#ifndef GB_LIB_LIB_H
#define GB_LIB_LIB_H

#include "base/alloc.h"
#include "glovebox/glovebox.h"
#include "host/host.h"
#include "model/model.h"
#include "sandbox/sandbox.h"

struct gb_lib_call; /* call.c */

struct gb_host {
    struct gb_account *host_account;
    struct gb_account *tenant;
    struct gb_sandbox *sandbox;
    struct gb_registry *registry;
    struct gb_runner *runner;
    struct gb_services *services; /* metrics and log of the tenant's guests */
    uint64_t memory_bytes_max;
    struct gb_lib_call *calls; /* running; doubly linked */
    struct gb_custom *customs; /* interfaces of the embedder's */
};

/* An owned copy of grants, in the sandbox's form. */
struct gb_lib_grants {
    struct gb_grants grants; /* points into the arrays below */
    char **models;
    char **env;
    char **interfaces;
    char **dirs; /* triples: host, guest, mode */
    size_t dirs_len;
    struct gb_preopen *preopens;
};
bool gb_lib_grants_copy(const struct gb_grant_options *options, struct gb_custom *customs,
                        struct gb_lib_grants *ret_grants, struct gb_error **err);
void gb_lib_grants_fini(struct gb_lib_grants *g);

struct gb_guest {
    struct gb_host *host;
    struct gb_program *program;
    struct gb_limits limits;
    struct gb_lib_grants grants;
};

struct gb_result {
    struct gb_call_result inner;
};

/* function: NULL, or the export to call. */
struct gb_guest *gb_lib_guest_load(struct gb_host *h, const char *path, const char *function,
                                   const struct gb_grant_options *grants,
                                   const struct gb_limit_options *limits, struct gb_error **err);
/* Whether the values fit the guest's function in number and kind. */
bool gb_lib_values_check(const struct gb_guest *g, const struct gb_value *values, size_t len,
                         struct gb_error **err);

/* Copies a caller's options over our defaults: a caller built against an older header has a smaller
 * struct. Fails when the caller's is larger than ours, or has no size. */
bool gb_lib_options_copy(void *ret_options, size_t our_bytes, const void *options,
                         const char *what, struct gb_error **err);
/* The registry's form of host options. host_account may be NULL. */
struct gb_registry_options gb_lib_registry_options(const struct gb_host_options *options,
                                                   struct gb_account *host_account);
struct gb_sandbox_options gb_lib_sandbox_options(const struct gb_host_options *options);

/* "agent", "wasi:cli/run"; NULL: nothing that can be entered. */
const char *gb_lib_entry_text(const struct gb_inspection *i);

#endif
