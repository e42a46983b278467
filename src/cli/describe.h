/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of the verbs that describe something (models, inspect, doctor, version): options, a
 * JSON text from the library, and either that text or a rendering of it for people.
 */
#ifndef GB_CLI_DESCRIBE_H
#define GB_CLI_DESCRIBE_H

#include <yyjson.h>

#include "cli/setup.h"

struct gb_describe_values {
    struct gb_common_options common;
    struct gb_engine_values engine;
    struct gb_model_values models;
};

struct gb_describe_spec {
    const struct gb_verb *verb;
    /* Operands that are wanted: 0 or 1, and what that one is called. */
    const char *operand;
    /* The JSON text (gb_text_free), or NULL and *err; *ret_status: exit status, 0 unless set. */
    char *(*make)(const struct gb_describe_values *values, const char *operand, int *ret_status,
                  struct gb_error **err);
    /* Appends the text for people. */
    void (*render)(struct gb_buf *out, yyjson_val *root);
};
int gb_describe(const struct gb_describe_spec *spec, int argc, char **argv);

/* A member's text, escaped for people; nothing for null. */
void gb_describe_append(struct gb_buf *out, yyjson_val *object, const char *key);
const char *gb_describe_text(yyjson_val *object, const char *key); /* "" when absent */
/* The lines of one entry of `models --json`. */
void gb_describe_append_model(struct gb_buf *out, yyjson_val *model);

#endif
