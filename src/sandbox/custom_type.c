/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a function type in WIT's notation, without names of types, and writes it in the one form
 * that the bridge uses, so that types compare as texts. A stack instead of recursion.
 */
#include "base/buf.h"
#include "base/num.h"
#include "sandbox/custom.h"

#define DEPTH_MAX 32
enum context { PARAMS, RECORD, VARIANT, NAMES, CASE, GENERIC };
struct parser {
    const char *at;
    struct gb_buf out;
    struct {
        enum context is;
        unsigned left; /* generic: types still allowed */
        bool filled;   /* it has a member already */
    } stack[DEPTH_MAX];
    size_t depth;
    bool blank; /* "_" is allowed: the first type of a result */
    struct gb_error **err;
};

static bool bad(struct parser *p, const char *what) {
    return gb_fail(p->err, GB_INVALID_ARGUMENT, "a function's type %s at \"%.40s\"", what, p->at);
}

static void skip(struct parser *p) {
    p->at += strspn(p->at, " \t\r\n");
}

static bool next_is(struct parser *p, const char *text) {
    skip(p);
    size_t len = strlen(text);
    if (strncmp(p->at, text, len) != 0) {
        return false;
    }
    p->at += len;
    return true;
}

static bool emit(struct parser *p, const char *text) {
    return gb_buf_append_text(&p->out, text, p->err);
}

static size_t word(struct parser *p) {
    skip(p);
    return strspn(p->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");
}

static bool take_word(struct parser *p) {
    (void)next_is(p, "%"); /* WIT's escape for keywords */
    size_t len = word(p);
    if (len == 0) {
        return bad(p, "lacks a name");
    }
    bool ok = gb_buf_append(&p->out, p->at, len, p->err);
    p->at += len;
    return ok;
}

static bool push(struct parser *p, enum context is, unsigned types) {
    if (p->depth == DEPTH_MAX) {
        return bad(p, "is nested too deeply");
    }
    p->stack[p->depth].is = is;
    p->stack[p->depth].left = types;
    p->stack[p->depth++].filled = false;
    return true;
}

static const char *close_of(enum context c) {
    return c == PARAMS || c == CASE ? ")" : c == GENERIC ? ">" : "}";
}

static bool pop(struct parser *p) {
    enum context c = p->stack[--p->depth].is;
    bool braces = c == RECORD || c == VARIANT || c == NAMES;
    return emit(p, braces ? " " : "") && emit(p, close_of(c));
}

/* What may follow. */
enum step { MEMBER, TYPE, AFTER, END, FAILED };

static enum step member(struct parser *p) {
    enum context c = p->stack[p->depth - 1].is;
    if (next_is(p, close_of(c))) {
        if (c != PARAMS && !p->stack[p->depth - 1].filled) {
            (void)bad(p, "has an empty list");
            return FAILED;
        }
        return pop(p) ? AFTER : FAILED;
    }
    if ((p->stack[p->depth - 1].filled && !emit(p, ", ")) || !take_word(p)) {
        return FAILED;
    }
    p->stack[p->depth - 1].filled = true;
    if (c == PARAMS || c == RECORD) {
        bool ok = next_is(p, ":") ? emit(p, ": ") : bad(p, "lacks a colon");
        return ok ? TYPE : FAILED;
    }
    if (c == VARIANT && next_is(p, "(")) {
        return emit(p, "(") && push(p, CASE, 1) ? TYPE : FAILED;
    }
    return AFTER;
}

static bool is_word(const char *at, size_t len, const char *text) {
    return strlen(text) == len && memcmp(at, text, len) == 0;
}

static enum step type(struct parser *p) {
    static const char *const plain[] = {"bool", "s8",  "u8",  "s16", "u16",  "s32",   "u32",
                                        "s64",  "u64", "f32", "f64", "char", "string"};
    static const struct {
        const char *name;
        unsigned types;
        enum context is;
    } others[] = {{"list", 1, GENERIC},      {"option", 1, GENERIC}, {"result", 2, GENERIC},
                  {"tuple", 10000, GENERIC}, {"record", 0, RECORD},  {"variant", 0, VARIANT},
                  {"enum", 0, NAMES},        {"flags", 0, NAMES}};
    bool blank = p->blank;
    p->blank = false;
    if (blank && next_is(p, "_")) {
        return emit(p, "_") ? AFTER : FAILED;
    }
    size_t len = word(p);
    const char *at = p->at;
    for (size_t i = 0; i < GB_COUNT(plain); i++) {
        if (is_word(at, len, plain[i])) {
            p->at += len;
            return emit(p, plain[i]) ? AFTER : FAILED;
        }
    }
    for (size_t i = 0; i < GB_COUNT(others); i++) {
        if (!is_word(at, len, others[i].name)) {
            continue;
        }
        p->at += len;
        bool generic = others[i].is == GENERIC;
        if (!emit(p, others[i].name)) {
            return FAILED;
        }
        if (!next_is(p, generic ? "<" : "{")) {
            bool bare = others[i].types == 2;
            return bare || bad(p, generic ? "lacks a \"<\"" : "lacks a \"{\"") ? AFTER : FAILED;
        }
        p->blank = others[i].types == 2;
        bool ok = emit(p, generic ? "<" : " { ") && push(p, others[i].is, others[i].types);
        return !ok ? FAILED : generic ? TYPE : MEMBER;
    }
    (void)bad(p, "has an unknown type (named types are written out, as in record { a: u8 })");
    return FAILED;
}

/* Behind a type or a member. */
static enum step after(struct parser *p, bool *in_result) {
    if (p->depth == 0) {
        if (!*in_result && next_is(p, "->")) {
            *in_result = true;
            return emit(p, " -> ") ? TYPE : FAILED;
        }
        skip(p);
        if (*p->at) {
            (void)bad(p, "goes on");
            return FAILED;
        }
        return END;
    }
    enum context c = p->stack[p->depth - 1].is;
    bool lists = c != CASE && c != GENERIC;
    if (next_is(p, close_of(c))) {
        return pop(p) ? AFTER : FAILED;
    }
    if (c == CASE || !next_is(p, ",")) {
        (void)bad(p, "is not closed");
        return FAILED;
    }
    if (lists) {
        return MEMBER;
    }
    if (p->stack[p->depth - 1].left-- <= 1) {
        (void)bad(p, "has too many types");
        return FAILED;
    }
    return emit(p, ", ") ? TYPE : FAILED;
}

char *gb_custom_type(const char *text, struct gb_error **err) {
    struct parser p = {.at = text, .err = err};
    gb_buf_init(&p.out, 4000); /* longer ones are cut by the bridge */
    bool in_result = false;
    enum step step = FAILED;
    if (!next_is(&p, "func") || !next_is(&p, "(")) {
        (void)bad(&p, "does not begin with \"func(\"");
    } else if (emit(&p, "func(") && push(&p, PARAMS, 0)) {
        step = MEMBER;
    }
    while (step != FAILED && step != END) {
        step = step == MEMBER ? member(&p) : step == TYPE ? type(&p) : after(&p, &in_result);
    }
    char *made = step == END ? gb_buf_take(&p.out) : NULL;
    gb_buf_fini(&p.out);
    return made;
}
