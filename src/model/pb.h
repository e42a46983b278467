/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading protobuf's wire format, one field at a time, from memory. Knows no message types.
 *
 * Stricter than protobuf where leniency only serves an attacker: keys of more than five bytes,
 * numbers of more than 64 bits and groups (deprecated; no format that we read has any) are refused.
 * Padded numbers are read as protobuf reads them. Threads: any. Allocates nothing.
 */
#ifndef GB_MODEL_PB_H
#define GB_MODEL_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gb_pb_wire { GB_PB_VARINT = 0, GB_PB_FIXED64 = 1, GB_PB_BYTES = 2, GB_PB_FIXED32 = 5 };
enum gb_pb_status {
    GB_PB_OK,
    GB_PB_TRUNCATED,
    GB_PB_LENGTH,
    GB_PB_NUMBER_LONG,
    GB_PB_KEY_LONG,
    GB_PB_FIELD_ZERO,
    GB_PB_GROUP,
    GB_PB_WIRE
};
/* "a number runs past the end of its message" */
const char *gb_pb_status_text(enum gb_pb_status status);

struct gb_pb_field {
    uint32_t number;
    enum gb_pb_wire wire;
    uint64_t value; /* varint, fixed32 or fixed64 */
    size_t off;     /* of the key */
    size_t body;    /* of a byte run; else of the value */
    size_t len;     /* of a byte run */
};

/* Reads the number at *pos, before end; moves *pos behind it. */
enum gb_pb_status gb_pb_varint(const uint8_t *bytes, size_t *pos, size_t end, uint64_t *ret_value);
/* Reads one field; moves *pos behind it. A byte run lies within end. */
enum gb_pb_status gb_pb_field(const uint8_t *bytes, size_t *pos, size_t end,
                              struct gb_pb_field *ret_field);
uint32_t gb_pb_u32(const uint8_t *bytes);
uint64_t gb_pb_u64(const uint8_t *bytes);

#endif
