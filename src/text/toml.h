/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TOML files: every value with its place, so that a wrong one is reported as file:line:column.
 * Parsing is the bridge's (gb_text.h); this is the only file that includes it.
 * Threads: any. Ownership: spans of a value are valid during its callback. Errors:
 * GB_MANIFEST_INVALID with the place first.
 */
#ifndef GB_TEXT_TOML_H
#define GB_TEXT_TOML_H

#include <stdint.h>

#include "base/error.h"
#include "base/span.h"

enum gb_toml_kind { GB_TOML_STRING, GB_TOML_INTEGER, GB_TOML_FLOAT, GB_TOML_BOOL, GB_TOML_DATETIME,
                    GB_TOML_TABLE, GB_TOML_ARRAY };

struct gb_toml_value {
    const char *file;
    uint32_t line, column; /* from 1 */
    enum gb_toml_kind kind;
    struct gb_span path; /* "tenant.acme.limits.memory" */
    struct gb_span text; /* of strings; else the source text */
    int64_t integer;     /* GB_TOML_INTEGER, GB_TOML_BOOL */
    double number;       /* GB_TOML_FLOAT */
};
/* Called for every value, parents first. Returning false (with *err set) ends the walk. */
typedef bool gb_toml_fn(void *user, const struct gb_toml_value *value, struct gb_error **err);

/* file is for messages. */
bool gb_toml_walk(struct gb_span text, const char *file, gb_toml_fn *each, void *user,
                  struct gb_error **err);

/* Set an error about the value, its place first. Return false. */
bool gb_toml_fail(const struct gb_toml_value *v, struct gb_error **err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As an error of that code: `unsupported` for what we know and do not have yet. */
bool gb_toml_fail_as(const struct gb_toml_value *v, enum gb_code code, struct gb_error **err,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The known key that was probably meant, or NULL. */
const char *gb_toml_nearest(struct gb_span key, const char *const *known, size_t known_len);
/* "unknown key", with the nearest of the known ones in the hint. */
bool gb_toml_fail_key(const struct gb_toml_value *v, const char *const *known, size_t known_len,
                      struct gb_error **err);

/* Typed reading; each fails naming the key and what it takes. */
bool gb_toml_string(const struct gb_toml_value *v, struct gb_span *ret_text, struct gb_error **err);
bool gb_toml_integer(const struct gb_toml_value *v, int64_t min, int64_t max, int64_t *ret_integer,
                     struct gb_error **err);
bool gb_toml_bool(const struct gb_toml_value *v, bool *ret_bool, struct gb_error **err);
bool gb_toml_duration(const struct gb_toml_value *v, uint64_t *ret_us, struct gb_error **err);
bool gb_toml_size(const struct gb_toml_value *v, uint64_t *ret_bytes, struct gb_error **err);

#endif
