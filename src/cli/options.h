/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Declarative options: one table per verb. From a row come the parsing, the default, the range
 * check and the lines of --help, so that none can say something else than the others.
 *
 * The values lie in a struct of the verb's, at the row's offset: bool for a flag, const char * for
 * a text, uint64_t for a count, size or duration (microseconds), int for a choice (its index),
 * struct gb_option_list for a list. Texts are borrowed from argv.
 */
#ifndef GB_CLI_OPTIONS_H
#define GB_CLI_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum gb_option_kind {
    GB_OPTION_FLAG,
    GB_OPTION_TEXT,
    GB_OPTION_LIST, /* repeatable text */
    GB_OPTION_COUNT,
    GB_OPTION_SIZE,
    GB_OPTION_DURATION,
    GB_OPTION_CHOICE
};

struct gb_option {
    const char *name;    /* without dashes */
    char letter;         /* 0: none */
    enum gb_option_kind kind;
    size_t offset;
    const char *value;   /* what --help calls the value; NULL for a flag */
    const char *initial; /* parsed at start and shown by --help; NULL: zero */
    const char *example; /* for hints where there is no initial */
    const char *help;
    uint64_t min, max;   /* inclusive; max 0: no range */
    const char *const *choices; /* ends with NULL */
};

struct gb_option_list {
    const char **items;
    size_t len;
};

struct gb_option_table {
    const char *verb;
    const struct gb_option *options;
    size_t len;
    bool stop_at_operand; /* what follows the first operand belongs to somebody else */
};

/* Every verb's struct begins with these. */
struct gb_common_options {
    bool help;
    bool json;
    bool verbose;
};
#define GB_COMMON_ROWS(type)                                                                       \
    {.name = "json", .kind = GB_OPTION_FLAG, .offset = offsetof(type, common.json),                \
     .help = "Print exactly one JSON object on stdout."},                                          \
    {.name = "verbose", .letter = 'v', .kind = GB_OPTION_FLAG,                                     \
     .offset = offsetof(type, common.verbose), .help = "Log what is done to stderr."},             \
    {.name = "help", .letter = 'h', .kind = GB_OPTION_FLAG,                                        \
     .offset = offsetof(type, common.help), .help = "Show this text."}

struct gb_operands {
    char **items; /* points into argv */
    size_t len;
};

/* Fills in the initial values, then reads argv[0..argc). With an error, `values` still says whether
 * --json was asked for. values->common.help ends the reading. */
bool gb_options_parse(const struct gb_option_table *table, int argc, char **argv, void *values,
                      struct gb_operands *ret_operands, struct gb_error **err);
/* Frees the lists. */
void gb_options_fini(const struct gb_option_table *table, void *values);
/* The option rows of --help. */
bool gb_options_help(const struct gb_option_table *table, struct gb_buf *out,
                     struct gb_error **err);

#endif
