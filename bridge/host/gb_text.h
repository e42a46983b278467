/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bridge's text half: TOML with positions. src/text is the only includer.
 * Every entry catches panics. Borrowed spans are valid during the callback only. Threads: any.
 */
#ifndef GB_TEXT_H
#define GB_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gbt_kind { GBT_STRING, GBT_INTEGER, GBT_FLOAT, GBT_BOOL, GBT_DATETIME, GBT_TABLE, GBT_ARRAY };

/* One value of a TOML document, in document order, parents before children. */
struct gbt_value {
    uint32_t kind;    /* enum gbt_kind */
    uint32_t line;    /* of the key, from 1 */
    uint32_t column;  /* in characters, from 1 */
    const char *path; /* "tenant.acme.limits.memory", "route[0].path"; path_len bytes */
    size_t path_len;
    const char *text; /* strings: the value; else its source text */
    size_t text_len;
    int64_t integer;  /* GBT_INTEGER; bool as 0 or 1 */
    double number;    /* GBT_FLOAT */
};
/* Returning false stops the walk. */
typedef bool gbt_value_fn(void *user, const struct gbt_value *value);

enum gbt_status { GBT_OK = 0, GBT_SYNTAX = 1, GBT_STOPPED = 2, GBT_PANIC = 3 };
/* On GBT_SYNTAX writes a one-line message (cut to message_cap, NUL-terminated), line and column. */
enum gbt_status gbt_toml_walk(const uint8_t *bytes, size_t len, gbt_value_fn *each, void *user,
                              char *message, size_t message_cap, uint32_t *ret_line,
                              uint32_t *ret_column);

#endif
