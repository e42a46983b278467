/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf's wire format: numbers, keys, byte runs. */
#include "model/pb.h"

#include "base/num.h"

#define VARINT_BYTES_MAX 10 /* 64 bits in groups of 7 */
#define KEY_BYTES_MAX    5  /* 32 bits in groups of 7 */

const char *gb_pb_status_text(enum gb_pb_status status) {
    switch (status) {
    case GB_PB_OK:
        return "no error";
    case GB_PB_TRUNCATED:
        return "a field runs past the end of its message";
    case GB_PB_LENGTH:
        return "a field is longer than the message that holds it";
    case GB_PB_NUMBER_LONG:
        return "a number has more than 64 bits";
    case GB_PB_KEY_LONG:
        return "a field's key has more than 32 bits";
    case GB_PB_FIELD_ZERO:
        return "a field has the number 0";
    case GB_PB_GROUP:
        return "a field is a group, which no ONNX model has";
    case GB_PB_WIRE:
        return "a field has a wire type that does not exist";
    }
    return "unknown";
}

enum gb_pb_status gb_pb_varint(const uint8_t *bytes, size_t *pos, size_t end,
                               uint64_t *ret_value) {
    uint64_t value = 0;
    for (size_t i = 0; i < VARINT_BYTES_MAX; i++) {
        if (*pos + i >= end) {
            return GB_PB_TRUNCATED;
        }
        uint8_t byte = bytes[*pos + i];
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) {
            return GB_PB_NUMBER_LONG;
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            *pos += i + 1;
            *ret_value = value;
            return GB_PB_OK;
        }
    }
    return GB_PB_NUMBER_LONG;
}

uint32_t gb_pb_u32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

uint64_t gb_pb_u64(const uint8_t *bytes) {
    return (uint64_t)gb_pb_u32(bytes) | (uint64_t)gb_pb_u32(bytes + 4) << 32;
}

static enum gb_pb_status read_fixed(const uint8_t *bytes, size_t *pos, size_t end, size_t len,
                                    struct gb_pb_field *field) {
    if (!gb_range_ok(*pos, len, end)) {
        return GB_PB_TRUNCATED;
    }
    field->value = len == 4 ? gb_pb_u32(bytes + *pos) : gb_pb_u64(bytes + *pos);
    field->len = len;
    *pos += len;
    return GB_PB_OK;
}

static enum gb_pb_status read_bytes(const uint8_t *bytes, size_t *pos, size_t end,
                                    struct gb_pb_field *field) {
    uint64_t len;
    enum gb_pb_status status = gb_pb_varint(bytes, pos, end, &len);
    if (status != GB_PB_OK) {
        return status;
    }
    if (!gb_range_ok(*pos, len, end)) {
        return GB_PB_LENGTH;
    }
    field->body = *pos;
    field->len = (size_t)len;
    *pos += (size_t)len;
    return GB_PB_OK;
}

enum gb_pb_status gb_pb_field(const uint8_t *bytes, size_t *pos, size_t end,
                              struct gb_pb_field *ret_field) {
    struct gb_pb_field field = {.off = *pos};
    uint64_t key;
    enum gb_pb_status status = gb_pb_varint(bytes, pos, end, &key);
    if (status != GB_PB_OK) {
        return status;
    }
    if (key > UINT32_MAX || *pos - field.off > KEY_BYTES_MAX) {
        return GB_PB_KEY_LONG;
    }
    field.number = (uint32_t)key >> 3;
    if (field.number == 0) {
        return GB_PB_FIELD_ZERO;
    }
    field.body = *pos;
    switch (key & 7) {
    case GB_PB_VARINT:
        field.wire = GB_PB_VARINT;
        status = gb_pb_varint(bytes, pos, end, &field.value);
        break;
    case GB_PB_FIXED64:
        field.wire = GB_PB_FIXED64;
        status = read_fixed(bytes, pos, end, 8, &field);
        break;
    case GB_PB_BYTES:
        field.wire = GB_PB_BYTES;
        status = read_bytes(bytes, pos, end, &field);
        break;
    case GB_PB_FIXED32:
        field.wire = GB_PB_FIXED32;
        status = read_fixed(bytes, pos, end, 4, &field);
        break;
    case 3:
    case 4:
        return GB_PB_GROUP;
    default:
        return GB_PB_WIRE;
    }
    if (status == GB_PB_OK) {
        *ret_field = field;
    }
    return status;
}
