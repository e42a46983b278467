/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error object. Allocation failing while an error is made yields the static out-of-memory
 * object instead: the caller still gets a code, a message and a hint.
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define GB_ERROR_TEXT_MAX 4096

/* The strings are never written or freed: gb_error_free knows this object. */
static char oom_message[] = "memory ran out in the host";
static char oom_hint[] =
    "Give the process more memory, or lower the limits and the number of calls.";
static struct gb_error oom = {
    .code = GB_INTERNAL, .where = "alloc.c", .message = oom_message, .hint = oom_hint};

static const struct {
    const char *text;
    const char *doc;
    int http_status;
    int exit_status;
    bool retryable;
} codes[GB_CODE_COUNT] = {
    [GB_OK] = {"ok", "No error.", 200, 0, false},
#define GB_ERROR(name, code_text, http, status, retry, doc_text)                                   \
    [GB_##name] = {code_text, doc_text, http, status, retry},
#include "base/errors.def"
#undef GB_ERROR
};

static enum gb_code known(enum gb_code code) {
    return (unsigned)code < GB_CODE_COUNT ? code : GB_INTERNAL;
}

const char *gb_code_text(enum gb_code code) {
    return codes[known(code)].text;
}
const char *gb_code_doc(enum gb_code code) {
    return codes[known(code)].doc;
}
int gb_code_http_status(enum gb_code code) {
    return codes[known(code)].http_status;
}
int gb_code_exit_status(enum gb_code code) {
    return codes[known(code)].exit_status;
}
bool gb_code_retryable(enum gb_code code) {
    return codes[known(code)].retryable;
}

enum gb_code gb_code_of_text(const char *text) {
    for (unsigned i = 1; i < GB_CODE_COUNT; i++) {
        if (strcmp(codes[i].text, text) == 0) {
            return (enum gb_code)i;
        }
    }
    return GB_OK;
}

/* gb_alloc_bare, because running out of memory here must not make an error of its own. */
static char *format_text(const char *format, va_list args) {
    char *text = NULL;
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (len < 0) {
        return NULL;
    }
    size_t cap = (size_t)len < GB_ERROR_TEXT_MAX ? (size_t)len + 1 : GB_ERROR_TEXT_MAX;
    text = gb_alloc_bare(cap);
    if (text) {
        vsnprintf(text, cap, format, args);
    }
    return text;
}

static struct gb_error *error_new(enum gb_code code, int sys_errno, const char *where,
                                  const char *format, va_list args) {
    struct gb_error *e = gb_alloc_bare(sizeof *e);
    if (!e) {
        return &oom;
    }
    const char *slash = where ? strrchr(where, '/') : NULL;
    *e = (struct gb_error){
        .code = known(code), .sys_errno = sys_errno, .where = slash ? slash + 1 : where};
    e->message = format_text(format, args);
    if (!e->message) {
        gb_free(e);
        return &oom;
    }
    return e;
}

bool gb_error_set(struct gb_error **err, enum gb_code code, int sys_errno, const char *where,
                  const char *format, ...) {
    if (!err || *err) {
        return false; /* never pile a second error on the first */
    }
    if (sys_errno == -1 && !where) {
        *err = &oom; /* gb_alloc's way to ask for the static object */
        return false;
    }
    va_list args;
    va_start(args, format);
    *err = error_new(code, sys_errno, where, format, args);
    va_end(args);
    return false;
}

static bool set_text(struct gb_error **err, bool hint, const char *format, va_list args) {
    if (!err || !*err || *err == &oom) {
        return false;
    }
    char **slot = hint ? &(*err)->hint : &(*err)->detail;
    char *text = format_text(format, args);
    if (text) {
        gb_free(*slot);
        *slot = text;
    }
    return false;
}

bool gb_hint(struct gb_error **err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    set_text(err, true, format, args);
    va_end(args);
    return false;
}

bool gb_detail(struct gb_error **err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    set_text(err, false, format, args);
    va_end(args);
    return false;
}

void gb_error_set_cause(struct gb_error **err, struct gb_error *cause) {
    if (!err || !*err || *err == &oom) {
        gb_error_free(cause);
        return;
    }
    struct gb_error *last = *err;
    while (last->cause && last->cause != &oom) {
        last = last->cause;
    }
    if (last->cause == &oom) {
        gb_error_free(cause);
    } else {
        last->cause = cause;
    }
}

void gb_error_set_value(struct gb_error **err, const char *value, size_t value_bytes) {
    if (!err || !*err || *err == &oom) {
        return;
    }
    char *copy = gb_alloc_bare(value_bytes + 1);
    if (copy) {
        memcpy(copy, value, value_bytes);
        copy[value_bytes] = '\0';
        gb_free((*err)->value);
        (*err)->value = copy;
    }
}

void gb_error_value_is_json(struct gb_error **err, bool is_json) {
    if (err && *err && *err != &oom) {
        (*err)->value_is_json = is_json;
    }
}

bool gb_error_move(struct gb_error **err, struct gb_error *from) {
    if (err && !*err) {
        *err = from;
    } else {
        gb_error_free(from);
    }
    return false;
}

static char *copy_text(const char *text) {
    if (!text) {
        return NULL;
    }
    size_t bytes = strlen(text) + 1;
    char *copy = gb_alloc_bare(bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

struct gb_error *gb_error_copy(const struct gb_error *e) {
    struct gb_error *first = NULL;
    struct gb_error **slot = &first;
    for (; e; e = e->cause) {
        struct gb_error *copy = e == &oom ? NULL : gb_alloc_bare(sizeof *copy);
        if (!copy) {
            *slot = &oom;
            return first;
        }
        *copy = (struct gb_error){.code = e->code,
                                  .sys_errno = e->sys_errno,
                                  .where = e->where,
                                  .message = copy_text(e->message),
                                  .hint = copy_text(e->hint),
                                  .detail = copy_text(e->detail),
                                  .value = copy_text(e->value),
                                  .value_is_json = e->value_is_json};
        if (!copy->message) {
            gb_error_free(copy);
            *slot = &oom;
            return first;
        }
        *slot = copy;
        slot = &copy->cause;
    }
    return first;
}

void gb_error_free(struct gb_error *e) {
    while (e && e != &oom) {
        struct gb_error *cause = e->cause;
        gb_free(e->message);
        gb_free(e->hint);
        gb_free(e->detail);
        gb_free(e->value);
        gb_free(e);
        e = cause;
    }
}

void gb_error_clear(struct gb_error **err) {
    if (err) {
        gb_error_free(*err);
        *err = NULL;
    }
}
