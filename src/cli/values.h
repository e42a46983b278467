/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of options: numbers, sizes, durations, and the small notations of --dir, --model and
 * --nn-preload. Errors are usage errors that name the option and show the right form.
 * Threads: any. Ownership: strings that are returned are fresh (gb_free).
 */
#ifndef GB_CLI_VALUES_H
#define GB_CLI_VALUES_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* option is the name without dashes, example a right value for the hint. */
bool gb_value_count(const char *option, const char *text, const char *example, uint64_t *ret_value,
                    struct gb_error **err);
/* Bytes: "65536", "64KiB", "64MiB", "2GiB". */
bool gb_value_size(const char *option, const char *text, const char *example, uint64_t *ret_bytes,
                   struct gb_error **err);
/* "250us", "500ms", "30s", "5m". */
bool gb_value_duration(const char *option, const char *text, const char *example, uint64_t *ret_us,
                       struct gb_error **err);

/* HOST::GUEST[::rw], GUEST:HOST[:readonly] or HOST. A "::" anywhere selects the first form, else a
 * ":" the second. */
struct gb_dir_value {
    char *host;
    char *guest;
    bool writable;
};
bool gb_value_dir(const char *text, struct gb_dir_value *ret_dir, struct gb_error **err);
void gb_dir_value_fini(struct gb_dir_value *d);

struct gb_model_value {
    char *name;
    char *encoding; /* NULL: by content */
    char *target;   /* lower case; NULL: any */
    char *path;
};
/* NAME=PATH */
bool gb_value_model(const char *text, struct gb_model_value *ret_model, struct gb_error **err);
/* NAME:ENC:TARGET:PATH; the path may contain colons. */
bool gb_value_preload(const char *text, struct gb_model_value *ret_model, struct gb_error **err);
void gb_model_value_fini(struct gb_model_value *m);

/* "K=V" as it is; "K" with its value from our environment. */
bool gb_value_env(const char *text, char **ret_pair, struct gb_error **err);

/* The candidate nearest to text, or NULL when none is near enough to be what was meant. */
const char *gb_nearest(const char *text, const char *const *candidates, size_t len);

#endif
