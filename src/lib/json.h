/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing JSON: a thin layer over yyjson's mutable documents that remembers a failed allocation, so
 * that callers add fields without checking each and learn of it once, at the end. Text that is not
 * UTF-8 is made so (U+FFFD for each bad byte): file names and guests may say anything.
 *
 * Threads: one at a time. Ownership: embedded; gb_json_finish or gb_json_fini ends it.
 */
#ifndef GB_LIB_JSON_H
#define GB_LIB_JSON_H

#include <yyjson.h>

#include "base/error.h"
#include "base/span.h"

struct gb_json {
    yyjson_alc alc;
    yyjson_mut_doc *doc;
    bool out_of_memory;
};

/* The address of j must not change until it ends. */
void gb_json_init(struct gb_json *j);
void gb_json_fini(struct gb_json *j);
yyjson_mut_val *gb_json_text(struct gb_json *j, struct gb_span text);
/* A JSON text, as it is; ascii: with all else escaped. */
yyjson_mut_val *gb_json_raw(struct gb_json *j, const char *text, size_t len, bool ascii);
/* Keys are literals. A NULL text is added as null by add_text. */
void gb_json_add_text(struct gb_json *j, yyjson_mut_val *object, const char *key, const char *text);
void gb_json_add_u64(struct gb_json *j, yyjson_mut_val *object, const char *key, uint64_t number);
void gb_json_add_bool(struct gb_json *j, yyjson_mut_val *object, const char *key, bool value);
void gb_json_add(struct gb_json *j, yyjson_mut_val *object, const char *key, yyjson_mut_val *value);
/* {"code","message","hint","value"?,"cause"?} */
yyjson_mut_val *gb_json_error(struct gb_json *j, const struct gb_error *e);
/* Writes root as text (gb_free) and ends j. flags are yyjson's. */
char *gb_json_finish(struct gb_json *j, yyjson_mut_val *root, yyjson_write_flag flags,
                     struct gb_error **err);

#endif
