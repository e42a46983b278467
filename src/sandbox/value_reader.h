/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files that read values share: the memory of the values (value_memory.c), the place in
 * the JSON as a text (value_place.c), and values without children (value_scalar.c). value_read.c
 * walks the containers.
 *
 * Functions that read return false with *r->err set, which names the place.
 */
#ifndef GB_SANDBOX_VALUE_READER_H
#define GB_SANDBOX_VALUE_READER_H

#include <yyjson.h>

#include "ledger/ledger.h"
#include "sandbox/value.h"

/* ---- value_memory.c ---- */

struct gb_value_block; /* of memory for items and bytes */
struct gb_values {
    struct gb_account *account; /* NULL: nothing is charged */
    uint64_t charged;
    struct gb_error *denied; /* why the parser got no memory */
    yyjson_alc alc;          /* charges, too */
    yyjson_doc *doc;
    struct gb_value_block *blocks;
    struct gb_value *items;
    size_t len;
};

struct gb_values *gb_values_new(struct gb_account *account, struct gb_error **err);
/* Zeroed; charged before it is allocated; lives as long as v. */
void *gb_values_alloc(struct gb_values *v, size_t count, size_t each, struct gb_error **err);

/* A container whose children are being read. */
struct gb_value_level {
    uint32_t type;          /* number of its node; GB_VALUE_NO_TYPE: the arguments */
    bool named;             /* the JSON is an object of members */
    uint32_t member_first;  /* record, tuple, arguments: of items[0] */
    uint32_t child_type;    /* else: of all children */
    const char *child_name; /* of a payload: "ok", a case; may be NULL */
    size_t child_name_len;
    struct gb_value *items;
    size_t len;
    size_t json_len, done; /* children in the JSON, which may be too few or too many */
    size_t at;             /* the child that is being read, for the path */
    yyjson_val *next;      /* the next child; where named, its key */
};
struct gb_value_reader {
    const struct gb_signature *s;
    struct gb_values *to;
    const char *root; /* "args" */
    struct gb_value_level levels[GB_VALUE_DEPTH_MAX];
    size_t depth;
    struct gb_error **err;
};

/* ---- value_place.c ---- */

#define GB_VALUE_PLACE_CAP 256
/* "args[0].last": where the child that is being read stands. Returns place. */
const char *gb_value_place(const struct gb_value_reader *r, char place[GB_VALUE_PLACE_CAP]);
const char *gb_value_got(yyjson_val *json); /* "string" */
/* All fail with invalid-argument. */
bool gb_value_expected(struct gb_value_reader *r, uint32_t kind, yyjson_val *json);
bool gb_value_bad(struct gb_value_reader *r, const char *what);
bool gb_value_bad_name(struct gb_value_reader *r, const char *what, const char *name, size_t len);

/* ---- value_scalar.c ---- */

bool gb_value_find_name(const struct gb_value_reader *r, const struct gb_value_type *t,
                        yyjson_val *name, uint32_t *ret_at);
bool gb_value_read_integer(struct gb_value_reader *r, uint32_t kind, yyjson_val *json,
                           struct gb_value *to);
bool gb_value_read_float(struct gb_value_reader *r, uint32_t kind, yyjson_val *json,
                         struct gb_value *to);
bool gb_value_read_char(struct gb_value_reader *r, yyjson_val *json, struct gb_value *to);
bool gb_value_read_flags(struct gb_value_reader *r, const struct gb_value_type *t, yyjson_val *json,
                         struct gb_value *to);
bool gb_value_read_bytes(struct gb_value_reader *r, yyjson_val *json, struct gb_value *to);
bool gb_value_read_enum(struct gb_value_reader *r, const struct gb_value_type *t, yyjson_val *json,
                        struct gb_value *to);

#endif
