/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WIT values and their types as plain C data: what typed calls take and give, and what host
 * functions of the embedder's own see.
 *
 * A type is flattened: an array of nodes whose members lie side by side in a second array, so that
 * it can be walked without recursion. A value is a tree that its type explains: names are not in
 * it.
 *
 * Ownership: plain data; whoever made a value says how long its pointers hold. Limits: a type has
 * at most 10,000 nodes and a depth of 32; what has more, and resources, cannot cross.
 */
#ifndef GLOVEBOX_VALUE_H
#define GLOVEBOX_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glovebox/api.h>

#ifdef __cplusplus
extern "C" {
#endif
GB_API_BEGIN

struct gb_host;

enum gb_value_kind {
    GB_VALUE_BOOL = 1,
    GB_VALUE_S8,
    GB_VALUE_U8,
    GB_VALUE_S16,
    GB_VALUE_U16,
    GB_VALUE_S32,
    GB_VALUE_U32,
    GB_VALUE_S64,
    GB_VALUE_U64,
    GB_VALUE_F32,
    GB_VALUE_F64,
    GB_VALUE_CHAR,
    GB_VALUE_STRING,
    GB_VALUE_BYTES, /* list<u8> */
    GB_VALUE_LIST,
    GB_VALUE_RECORD,
    GB_VALUE_TUPLE,
    GB_VALUE_VARIANT,
    GB_VALUE_ENUM,
    GB_VALUE_OPTION,
    GB_VALUE_RESULT,
    GB_VALUE_FLAGS,
    GB_VALUE_OTHER /* types only: a resource, a stream, a reference */
};

struct gb_text {
    const char *ptr; /* UTF-8 (or bytes), not NUL-terminated */
    size_t len;
};

struct gb_value {
    uint32_t kind; /* enum gb_value_kind */
    /* variant, enum: the case's number; option: 0 none, 1 some; result: 0 ok, 1 err */
    uint32_t which;
    union {
        bool boolean;
        int64_t integer;  /* s8 … s64 */
        uint64_t natural; /* u8 … u64; char: the scalar value; flags: bit i stands for name i */
        float f32;
        double f64;
        struct gb_text text; /* string, bytes */
        struct {             /* list, record, tuple; variant, option, result: the payload or none */
            const struct gb_value *items;
            size_t len;
        } list;
    } of;
};

#define GB_VALUE_NO_TYPE UINT32_MAX
struct gb_value_member {
    struct gb_text name; /* record, variant, enum, flags, parameters; else empty */
    uint32_t type;       /* number of a node; GB_VALUE_NO_TYPE: no payload */
};
struct gb_value_type {
    uint32_t kind;  /* enum gb_value_kind */
    uint32_t first; /* its members: list and option 1, result 2 (ok, err), others as named */
    uint32_t len;
};
struct gb_signature {
    const struct gb_value_type *types;
    size_t types_len;
    const struct gb_value_member *members;
    size_t members_len;
    uint32_t params; /* the first of params_len members */
    uint32_t params_len;
    uint32_t result; /* number of a node, or GB_VALUE_NO_TYPE */
};

/* ---- the embedder's own interfaces ---- */

struct gb_error;
struct gb_host_call; /* one entry of a host function */
/* Runs on the thread that steps the host. args are borrowed for the call. *ret is the result, where
 * the type has one; what it points to must hold until the function is entered again or its call is
 * done: gb_host_call_alloc gives such memory. Returning false traps the guest; *err (gb_error_make)
 * becomes the cause of the call's error. */
typedef bool gb_host_fn(void *user, struct gb_host_call *call, const struct gb_value *args,
                        size_t args_len, struct gb_value *ret, struct gb_error **err);
/* Defines a function of an interface ("acme:metrics/metrics@1.0.0"). type is WIT's, with named
 * types written out: "func(at: record { x: f32, y: f32 }) -> result<u64, string>". Before guests
 * are loaded; for as long as the host lives. A guest that imports the interface needs the grant of
 * its name (gb_grant_options.interfaces) and every function under exactly its type. */
bool gb_host_define(struct gb_host *h, const char *interface, const char *name, const char *type,
                    gb_host_fn *fn, void *user, struct gb_error **err);
void *gb_host_call_alloc(struct gb_host_call *call, size_t bytes, struct gb_error **err);
/* Sets *err, to code ("not-found"; unknown: "internal") and message. Returns false. */
bool gb_error_make(struct gb_error **err, const char *code, const char *message);

/* ---- typed calls ---- */

struct gb_guest;
struct gb_result;
struct gb_grant_options;
struct gb_limit_options;
struct gb_args; /* arguments read from JSON */

/* As gb_guest_load_file, to call one exported function: "greet", "pkg:name/iface#greet"; the
 * version may be left out where it is unambiguous. Core modules: functions of numbers. */
struct gb_guest *gb_guest_load_function(struct gb_host *h, const char *path, const char *function,
                                        const struct gb_grant_options *grants,
                                        const struct gb_limit_options *limits,
                                        struct gb_error **err);
/* NULL where the guest was not loaded so. Lives as long as the guest. */
const struct gb_signature *gb_guest_signature(const struct gb_guest *g);
/* "func(name: string) -> string"; NULL where the guest was not loaded so. */
const char *gb_guest_function_type(const struct gb_guest *g);

/* Reads the arguments of such a guest: an array by position or an object by parameter name. A wrong
 * value names its place: `args[0].last: expected string, got number`. Keep them until the call is
 * done; they serve any number of calls (gb_call_options.values). Their memory is charged to the
 * tenant's budget until they are freed: budget-exceeded. */
struct gb_args *gb_guest_read_args(const struct gb_guest *g, const char *json, size_t json_bytes,
                                   struct gb_error **err);
const struct gb_value *gb_args_values(const struct gb_args *a, size_t *ret_len);
void gb_args_free(struct gb_args *a);

/* Whether a function was called and returned. */
bool gb_result_is_call(const struct gb_result *r);
/* What the function returned, unwrapped where it is a result (an err is the call's error); NULL:
 * nothing. Borrowed from the result. */
const struct gb_value *gb_result_value(const struct gb_result *r);
/* The same as JSON; "null" for nothing; NULL where no function was called. gb_text_free. */
char *gb_result_value_json(const struct gb_result *r, size_t *ret_bytes, struct gb_error **err);

GB_API_END
#ifdef __cplusplus
}
#endif
#endif
