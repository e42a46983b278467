/* SPDX-License-Identifier: Apache-2.0 */
/* Where the value that is being read stands, and what is wrong with it, as texts for people. */
#include <stdio.h>

#include "base/num.h"
#include "sandbox/value_reader.h"

static void path_append(char path[GB_VALUE_PLACE_CAP], size_t *len, const char *text,
                        size_t text_len) {
    size_t n = GB_MIN(text_len, GB_VALUE_PLACE_CAP - 1 - *len);
    memcpy(path + *len, text, n);
    *len += n;
    path[*len] = '\0';
}

/* "args[0].last": where the child that is being read stands. */
const char *gb_value_place(const struct gb_value_reader *r, char path[GB_VALUE_PLACE_CAP]) {
    size_t len = 0;
    path[0] = '\0';
    path_append(path, &len, r->root, strlen(r->root));
    for (size_t i = 0; i < r->depth; i++) {
        const struct gb_value_level *l = &r->levels[i];
        char number[32];
        if (l->named && l->member_first != GB_VALUE_NO_TYPE) {
            struct gb_text name = r->s->members[l->member_first + l->at].name;
            path_append(path, &len, ".", 1);
            path_append(path, &len, name.ptr, name.len);
        } else if (l->named) {
            path_append(path, &len, ".", 1);
            path_append(path, &len, l->child_name, l->child_name_len);
        } else if (!(l->type != GB_VALUE_NO_TYPE && r->s->types[l->type].kind == GB_VALUE_OPTION)) {
            int n = snprintf(number, sizeof number, "[%zu]", l->at);
            path_append(path, &len, number, n > 0 ? (size_t)n : 0);
        }
    }
    return path;
}

const char *gb_value_got(yyjson_val *json) {
    switch (yyjson_get_type(json)) {
    case YYJSON_TYPE_NULL:
        return "null";
    case YYJSON_TYPE_BOOL:
        return "boolean";
    case YYJSON_TYPE_NUM:
        return "number";
    case YYJSON_TYPE_STR:
        return "string";
    case YYJSON_TYPE_ARR:
        return "array";
    case YYJSON_TYPE_OBJ:
        return "object";
    default:
        return "nothing";
    }
}

bool gb_value_expected(struct gb_value_reader *r, uint32_t kind, yyjson_val *json) {
    char path[GB_VALUE_PLACE_CAP];
    return gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: expected %s, got %s", gb_value_place(r, path),
                   gb_value_kind_text(kind), gb_value_got(json));
}

bool gb_value_bad(struct gb_value_reader *r, const char *what) {
    char path[GB_VALUE_PLACE_CAP];
    return gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: %s", gb_value_place(r, path), what);
}

bool gb_value_bad_name(struct gb_value_reader *r, const char *what, const char *name, size_t len) {
    char path[GB_VALUE_PLACE_CAP];
    struct gb_buf quoted;
    gb_buf_init(&quoted, 1024);
    (void)gb_buf_append_escaped(&quoted, gb_span_make(name, GB_MIN(len, (size_t)100)), NULL);
    gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: %s \"%s\"", gb_value_place(r, path), what,
            gb_buf_text(&quoted));
    gb_buf_fini(&quoted);
    return false;
}
