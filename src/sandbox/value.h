/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WIT values as JSON, by their type: what `--call` reads and prints. Names are checked here, so a
 * wrong value names its place: `args[0].last: expected string, got number`.
 *
 * Ownership: a gb_values owns what it read, texts included, and a reference of the account that
 * pays for it. Limits: bytes of JSON, as given; depth and width are those of the type; the account.
 * Errors: invalid-argument; unsupported for resources; budget-exceeded.
 */
#ifndef GB_SANDBOX_VALUE_H
#define GB_SANDBOX_VALUE_H

#include "base/buf.h"
#include "glovebox/value.h"
#include "ledger/ledger.h"

/* The deepest type that the bridge describes, the arguments themselves included. */
#define GB_VALUE_DEPTH_MAX 34

struct gb_values; /* of one call */
/* Arguments: an array by position, or an object by parameter name. Empty json: no arguments.
 * account NULL: nobody pays. */
struct gb_values *gb_values_read(const struct gb_signature *s, struct gb_span json,
                                 uint64_t bytes_max, struct gb_account *account,
                                 struct gb_error **err);
/* One value of that type. at is its name in messages. */
struct gb_values *gb_values_read_one(const struct gb_signature *s, uint32_t type, const char *at,
                                     struct gb_span json, uint64_t bytes_max,
                                     struct gb_account *account, struct gb_error **err);
const struct gb_value *gb_values_items(const struct gb_values *v, size_t *ret_len);
void gb_values_free(struct gb_values *v);

/* Appends the value as JSON; a NULL value is null. */
bool gb_value_write(const struct gb_signature *s, uint32_t type, const struct gb_value *value,
                    struct gb_buf *out, struct gb_error **err);
/* "string", "list<u8>", "record" */
const char *gb_value_kind_text(uint32_t kind);
/* Whether a resource or another thing that cannot be a value is anywhere in it. */
bool gb_signature_is_plain(const struct gb_signature *s);

/* ---- value_base64.c ---- */

bool gb_base64_append(struct gb_buf *out, struct gb_span bytes, struct gb_error **err);
/* room: at least len / 4 * 3 bytes. False: not base64 (padded, standard alphabet). */
bool gb_base64_decode(struct gb_span text, uint8_t *room, size_t *ret_len);

#endif
