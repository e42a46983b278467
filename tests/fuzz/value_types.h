/* SPDX-License-Identifier: Apache-2.0 */
/* A signature with a type of every kind, for tests of values. */
#ifndef GB_TEST_VALUE_TYPES_H
#define GB_TEST_VALUE_TYPES_H

#include "sandbox/value.h"

enum {
    T_LIST = 14, /* of strings */
    T_RECORD,    /* { first: string, last-name: list<string> } */
    T_TUPLE,     /* <u8, string> */
    T_VARIANT,   /* { none, num(u64), rec(record), opt(option<u32>) } */
    T_ENUM,      /* { red, dark-green } */
    T_OPTION,    /* <u32> */
    T_NESTED,    /* option<option<u32>> */
    T_RESULT,    /* <list<u8>, _> */
    T_FLAGS,     /* { read, run-fast } */
    T_RECORDS,   /* list<record> */
    T_OTHER,
    T_COUNT
};

#define T_NAME(text)                                                                               \
    { text, sizeof(text) - 1 }
#define T_NONE GB_VALUE_NO_TYPE
static const struct gb_value_member t_members[] = {{{NULL, 0}, 12},
                                                   {{NULL, 0}, 6},
                                                   {{NULL, 0}, T_OPTION},
                                                   {{NULL, 0}, 13},
                                                   {{NULL, 0}, T_NONE},
                                                   {{NULL, 0}, 2},
                                                   {{NULL, 0}, 12},
                                                   {T_NAME("first"), 12},
                                                   {T_NAME("last-name"), T_LIST},
                                                   {T_NAME("none"), T_NONE},
                                                   {T_NAME("num"), 8},
                                                   {T_NAME("rec"), T_RECORD},
                                                   {T_NAME("opt"), T_OPTION},
                                                   {T_NAME("red"), T_NONE},
                                                   {T_NAME("dark-green"), T_NONE},
                                                   {T_NAME("read"), T_NONE},
                                                   {T_NAME("run-fast"), T_NONE},
                                                   {{NULL, 0}, T_RECORD},
                                                   {T_NAME("person"), T_RECORD},
                                                   {T_NAME("rest"), T_VARIANT}};
static const struct gb_value_type t_types[T_COUNT] = {
    {GB_VALUE_BOOL, 0, 0},   {GB_VALUE_S8, 0, 0},     {GB_VALUE_U8, 0, 0},
    {GB_VALUE_S16, 0, 0},    {GB_VALUE_U16, 0, 0},    {GB_VALUE_S32, 0, 0},
    {GB_VALUE_U32, 0, 0},    {GB_VALUE_S64, 0, 0},    {GB_VALUE_U64, 0, 0},
    {GB_VALUE_F32, 0, 0},    {GB_VALUE_F64, 0, 0},    {GB_VALUE_CHAR, 0, 0},
    {GB_VALUE_STRING, 0, 0}, {GB_VALUE_BYTES, 0, 0},  {GB_VALUE_LIST, 0, 1},
    {GB_VALUE_RECORD, 7, 2}, {GB_VALUE_TUPLE, 5, 2},  {GB_VALUE_VARIANT, 9, 4},
    {GB_VALUE_ENUM, 13, 2},  {GB_VALUE_OPTION, 1, 1}, {GB_VALUE_OPTION, 2, 1},
    {GB_VALUE_RESULT, 3, 2}, {GB_VALUE_FLAGS, 15, 2}, {GB_VALUE_LIST, 17, 1},
    {GB_VALUE_OTHER, 0, 0}};
static const struct gb_signature t_signature = {.types = t_types,
                                                .types_len = T_COUNT,
                                                .members = t_members,
                                                .members_len =
                                                    sizeof t_members / sizeof t_members[0],
                                                .params = 18,
                                                .params_len = 2,
                                                .result = GB_VALUE_NO_TYPE};

#endif
