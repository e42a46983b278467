/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the command line by a table, and writing --help from it. The first mistake is reported;
 * reading goes on only to learn whether --json was asked for, because then the mistake itself must
 * be reported as JSON.
 */
#include "cli/options.h"

#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "cli/values.h"

#define OPTIONS_MAX 64
#define HELP_COLUMN 30
#define HELP_WIDTH 100

static void *slot(void *values, const struct gb_option *o) {
    return (char *)values + o->offset;
}

/* ---- one value ---- */

static bool list_append(struct gb_option_list *list, const char *text, struct gb_error **err) {
    size_t bytes;
    if (!gb_mul_size(list->len + 1, sizeof *list->items, &bytes)) {
        return gb_fail(err, GB_USAGE_ERROR, "too many options");
    }
    const char **items = gb_realloc((void *)list->items, bytes, err);
    if (!items) {
        return false;
    }
    items[list->len++] = text;
    list->items = items;
    return true;
}

static bool choice_value(const struct gb_option *o, const char *text, int *ret_index,
                         struct gb_error **err) {
    struct gb_buf names;
    gb_buf_init(&names, 512);
    for (int i = 0; o->choices[i]; i++) {
        if (strcmp(o->choices[i], text) == 0) {
            gb_buf_fini(&names);
            *ret_index = i;
            return true;
        }
        (void)gb_buf_append_format(&names, NULL, "%s%s", i ? " or " : "", o->choices[i]);
    }
    gb_fail(err, GB_USAGE_ERROR, "--%s takes %s, not \"%s\"", o->name, gb_buf_text(&names), text);
    gb_hint(err, "Write, for example, --%s %s.", o->name, o->choices[0]);
    gb_buf_fini(&names);
    return false;
}

static const char *example_of(const struct gb_option *o) {
    return o->initial ? o->initial : o->example ? o->example : "1";
}

static bool number_value(const struct gb_option *o, const char *text, uint64_t *ret_number,
                         struct gb_error **err) {
    uint64_t number;
    bool ok = o->kind == GB_OPTION_COUNT
                  ? gb_value_count(o->name, text, example_of(o), &number, err)
              : o->kind == GB_OPTION_SIZE
                  ? gb_value_size(o->name, text, example_of(o), &number, err)
                  : gb_value_duration(o->name, text, example_of(o), &number, err);
    if (!ok) {
        return false;
    }
    if (o->max > 0 && (number < o->min || number > o->max)) {
        const char *unit = o->kind == GB_OPTION_SIZE       ? " bytes"
                           : o->kind == GB_OPTION_DURATION ? " us"
                                                           : "";
        gb_fail(err, GB_USAGE_ERROR, "--%s %s is out of range", o->name, text);
        return gb_hint(err, "It can be from %" PRIu64 " to %" PRIu64 "%s.", o->min, o->max, unit);
    }
    *ret_number = number;
    return true;
}

static bool value_set(const struct gb_option *o, const char *text, void *values,
                      struct gb_error **err) {
    void *at = slot(values, o);
    switch (o->kind) {
    case GB_OPTION_FLAG:
        *(bool *)at = true;
        return true;
    case GB_OPTION_TEXT:
        *(const char **)at = text;
        return true;
    case GB_OPTION_LIST:
        return list_append(at, text, err);
    case GB_OPTION_CHOICE:
        return choice_value(o, text, at, err);
    case GB_OPTION_COUNT:
    case GB_OPTION_SIZE:
    case GB_OPTION_DURATION:
        return number_value(o, text, at, err);
    }
    return gb_fail(err, GB_INTERNAL, "the option --%s has no kind", o->name);
}

/* ---- the command line ---- */

static const struct gb_option *find(const struct gb_option_table *t, const char *name, size_t len) {
    for (size_t i = 0; i < t->len; i++) {
        const char *own = t->options[i].name;
        if (strlen(own) == len && memcmp(own, name, len) == 0) {
            return &t->options[i];
        }
    }
    return NULL;
}

static const struct gb_option *find_letter(const struct gb_option_table *t, char letter) {
    for (size_t i = 0; i < t->len; i++) {
        if (letter != '\0' && t->options[i].letter == letter) {
            return &t->options[i];
        }
    }
    return NULL;
}

static bool unknown_option(const struct gb_option_table *t, const char *arg,
                           struct gb_error **err) {
    const char *names[OPTIONS_MAX];
    size_t len = 0;
    for (; len < t->len && len < OPTIONS_MAX; len++) {
        names[len] = t->options[len].name;
    }
    size_t name_len = strcspn(arg, "=");
    int shown = (int)GB_MIN(name_len, (size_t)200);
    gb_fail(err, GB_USAGE_ERROR, "unknown option \"%.*s\"", shown, arg);
    GB_CLEANUP(gb_free_cleanup) char *name = gb_strndup(arg, name_len, NULL);
    const char *bare = name ? name + strspn(name, "-") : "";
    const char *near = gb_nearest(bare, names, len);
    if (near) {
        return gb_hint(err, "Did you mean --%s? `glovebox %s --help` lists all.", near, t->verb);
    }
    return gb_hint(err, "`glovebox %s --help` lists the options.", t->verb);
}

/* Reads the option at argv[*index]; *index moves to its last word. */
static bool option_read(const struct gb_option_table *t, int argc, char **argv, int *index,
                        void *values, struct gb_error **err) {
    const char *arg = argv[*index];
    bool is_long = arg[1] == '-';
    const char *equals = is_long ? strchr(arg, '=') : NULL;
    const struct gb_option *o = NULL;
    if (is_long) {
        o = find(t, arg + 2, equals ? (size_t)(equals - arg - 2) : strlen(arg + 2));
    } else if (arg[2] == '\0') {
        o = find_letter(t, arg[1]);
    }
    if (!o) {
        return unknown_option(t, arg, err);
    }
    if (o->kind == GB_OPTION_FLAG) {
        if (equals) {
            gb_fail(err, GB_USAGE_ERROR, "--%s takes no value", o->name);
            return gb_hint(err, "Write --%s alone.", o->name);
        }
        return value_set(o, NULL, values, err);
    }
    if (equals) {
        return value_set(o, equals + 1, values, err);
    }
    /* An option where a value should be: the value was forgotten. --name=--x says it anyway. */
    if (*index + 1 >= argc || strncmp(argv[*index + 1], "--", 2) == 0) {
        gb_fail(err, GB_USAGE_ERROR, "--%s needs a value", o->name);
        return gb_hint(err, "Write --%s %s.", o->name, o->value);
    }
    *index += 1;
    return value_set(o, argv[*index], values, err);
}

static bool initial_values(const struct gb_option_table *t, void *values, struct gb_error **err) {
    for (size_t i = 0; i < t->len; i++) {
        const struct gb_option *o = &t->options[i];
        if (o->initial && !value_set(o, o->initial, values, err)) {
            return false;
        }
    }
    return true;
}

/* After a mistake: only --json still matters. */
static void look_for_json(int argc, char **argv, struct gb_common_options *common) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        common->json = common->json || strcmp(argv[i], "--json") == 0;
    }
}

bool gb_options_parse(const struct gb_option_table *table, int argc, char **argv, void *values,
                      struct gb_operands *ret_operands, struct gb_error **err) {
    struct gb_common_options *common = values;
    struct gb_operands operands = {.items = argv};
    if (!initial_values(table, values, err)) {
        return false;
    }
    for (int i = 0; i < argc && !common->help; i++) {
        bool rest = strcmp(argv[i], "--") == 0;
        bool operand = !rest && (argv[i][0] != '-' || argv[i][1] == '\0');
        if (rest || (operand && table->stop_at_operand)) {
            int first = rest ? i + 1 : i;
            for (int k = first; k < argc; k++) {
                operands.items[operands.len++] = argv[k];
            }
            break;
        }
        if (operand) {
            operands.items[operands.len++] = argv[i]; /* never ahead of i: packed in place */
        } else if (!option_read(table, argc, argv, &i, values, err)) {
            look_for_json(argc - i, argv + i, common);
            return false;
        }
    }
    *ret_operands = operands;
    return true;
}

void gb_options_fini(const struct gb_option_table *table, void *values) {
    for (size_t i = 0; i < table->len; i++) {
        if (table->options[i].kind == GB_OPTION_LIST) {
            struct gb_option_list *list = slot(values, &table->options[i]);
            gb_free((void *)list->items);
            *list = (struct gb_option_list){0};
        }
    }
}

/* ---- --help ---- */

/* Appends words of text from the help column on, in lines of HELP_WIDTH. */
static bool append_wrapped(struct gb_buf *out, const char *text, size_t column,
                           struct gb_error **err) {
    bool first = true;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (!first && column + 1 + word > HELP_WIDTH) {
            if (!gb_buf_append_format(out, err, "\n%*s", HELP_COLUMN, "")) {
                return false;
            }
            column = HELP_COLUMN;
            first = true;
        }
        if ((!first && !gb_buf_append_text(out, " ", err)) ||
            !gb_buf_append(out, text, word, err)) {
            return false;
        }
        column += word + (first ? 0 : 1);
        first = false;
        text += word;
        text += strspn(text, " ");
    }
    return gb_buf_append_text(out, "\n", err);
}

static bool option_help(const struct gb_option *o, struct gb_buf *out, struct gb_error **err) {
    size_t start = out->len;
    bool ok = o->letter ? gb_buf_append_format(out, err, "  -%c, --%s", o->letter, o->name)
                        : gb_buf_append_format(out, err, "  --%s", o->name);
    if (ok && o->choices) {
        for (int i = 0; ok && o->choices[i]; i++) {
            ok = gb_buf_append_format(out, err, "%s%s", i ? "|" : " ", o->choices[i]);
        }
    } else if (ok && o->value) {
        ok = gb_buf_append_format(out, err, " %s", o->value);
    }
    if (!ok) {
        return false;
    }
    size_t used = out->len - start;
    if (used + 2 > HELP_COLUMN) {
        ok = gb_buf_append_format(out, err, "\n%*s", HELP_COLUMN, "");
    } else {
        ok = gb_buf_append_format(out, err, "%*s", (int)(HELP_COLUMN - used), "");
    }
    struct gb_buf text;
    gb_buf_init(&text, 4096);
    ok = ok && gb_buf_append_text(&text, o->help, err) &&
         (!o->initial || gb_buf_append_format(&text, err, " [%s]", o->initial)) &&
         append_wrapped(out, gb_buf_text(&text), HELP_COLUMN, err);
    gb_buf_fini(&text);
    return ok;
}

bool gb_options_help(const struct gb_option_table *table, struct gb_buf *out,
                     struct gb_error **err) {
    for (size_t i = 0; i < table->len; i++) {
        if (!option_help(&table->options[i], out, err)) {
            return false;
        }
    }
    return true;
}
