/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interfaces that the embedder defines: a list of functions in C, known by the interface's full
 * name and granted by it, linked where a program imports them under exactly their type.
 *
 * Threads: defined before programs are loaded; a function is entered on the thread that steps its
 * call. Ownership: whoever made the list frees it, after its programs and calls.
 */
#ifndef GB_SANDBOX_CUSTOM_H
#define GB_SANDBOX_CUSTOM_H

#include "base/error.h"
#include "base/span.h"
#include "glovebox/value.h"

struct gb_custom {
    struct gb_custom *next;
    char *interface; /* "acme:metrics/metrics@1.0.0" */
    char *name;
    char *type; /* as the bridge writes types */
    gb_host_fn *fn;
    void *user;
};
/* Adds a function in front. Errors: invalid-argument (names, type, defined before). */
bool gb_custom_add(struct gb_custom **list, const char *interface, const char *name,
                   const char *type, gb_host_fn *fn, void *user, struct gb_error **err);
void gb_custom_free(struct gb_custom *list);
/* A WIT function type in the one form that the bridge writes (gb_free). */
char *gb_custom_type(const char *text, struct gb_error **err);

#endif
