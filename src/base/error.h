/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error object. A guest's trap, a bad manifest and a dead engine are all this, and every
 * rendering (command line, JSON, log, HTTP) is made from it.
 *
 * Rules: functions return bool or a pointer and take `struct gb_error **err` last; *err is set if
 * and only if they fail, other outputs are untouched on failure; NULL is accepted (probes only).
 * Ownership: whoever receives *err frees it; a cause is owned by its wrapper.
 * Errors: running out of memory yields a static immutable object; freeing it is a no-op.
 * Threads: an error belongs to one thread at a time.
 */
#ifndef GB_BASE_ERROR_H
#define GB_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#include "glovebox/api.h"

enum gb_code {
    GB_OK = 0,
#define GB_ERROR(name, text, http, status, retry, doc) GB_##name,
#include "base/errors.def"
#undef GB_ERROR
    GB_CODE_COUNT
};

struct gb_error {
    enum gb_code code;
    int sys_errno;       /* 0 where no system call failed */
    const char *where;   /* "file.c:123", for the operators' log */
    char *message;       /* what failed, on which quoted object */
    char *hint;          /* what to do, a sentence; may be NULL */
    char *detail;        /* operators' log only; may be NULL */
    char *value;         /* a guest's own error value; may be NULL */
    bool value_is_json;  /* else it is text */
    struct gb_error *cause;
};

#define GB_STRINGIFY_(x) #x
#define GB_STRINGIFY(x) GB_STRINGIFY_(x)
#define GB_WHERE __FILE__ ":" GB_STRINGIFY(__LINE__)

/* Sets *err (if err is not NULL and *err is NULL) to a new error; always returns false, so that
 * `return gb_fail(err, GB_IO, "…")` works. The format is ours, never a guest's. */
#define gb_fail(err, code, ...) gb_error_set((err), (code), 0, GB_WHERE, __VA_ARGS__)
/* As gb_fail, keeping errno. */
#define gb_fail_errno(err, code, eno, ...) gb_error_set((err), (code), (eno), GB_WHERE, __VA_ARGS__)
bool gb_error_set(struct gb_error **err, enum gb_code code, int sys_errno, const char *where,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Adds to *err; replaces an earlier text. No-ops when err or *err is NULL. Return false. */
bool gb_hint(struct gb_error **err, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool gb_detail(struct gb_error **err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Makes `cause` (taken, may be NULL) the innermost cause of *err. */
void gb_error_set_cause(struct gb_error **err, struct gb_error *cause);
/* Sets the guest's own value (copied, length-bounded by the caller). */
void gb_error_set_value(struct gb_error **err, const char *value, size_t value_bytes);
/* Says that the value is a JSON text. */
void gb_error_value_is_json(struct gb_error **err, bool is_json);
/* Moves `from` into *err (or frees it when err is NULL or already set). Returns false. */
bool gb_error_move(struct gb_error **err, struct gb_error *from);
/* A deep copy; NULL in, NULL out. */
struct gb_error *gb_error_copy(const struct gb_error *e);
GB_API void gb_error_free(struct gb_error *e);
void gb_error_clear(struct gb_error **err);

const char *gb_code_text(enum gb_code code);
const char *gb_code_doc(enum gb_code code);
int gb_code_http_status(enum gb_code code);
int gb_code_exit_status(enum gb_code code);
bool gb_code_retryable(enum gb_code code);
/* GB_OK when the text names no code. */
enum gb_code gb_code_of_text(const char *text);

#endif
