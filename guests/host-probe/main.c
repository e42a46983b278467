/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives glovebox:host by a small language. The argument holds statements, separated by ";":
 *   counter NAME N   gauge NAME X    metrics
 *   log LEVEL TEXT                   LEVEL: trace debug info warn error; "\n" in TEXT is a new line
 *   logfields LEVEL TEXT KEY VALUE   one field
 *   longlog N                        a message of N bytes
 *   context                          what the context says, a line each, in the answer
 *   repeat N STATEMENT               "#" in it becomes the number of the turn
 */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

static void set(agent_string_t *ret, const char *text) {
    agent_string_set(ret, text == NULL ? "" : text);
}

static glovebox_host_log_level_t level_of(const char *word) {
    static const char *const names[] = {"trace", "debug", "info", "warn", "error"};
    for (uint8_t i = 0; word != NULL && i < 5; i++) {
        if (strcmp(word, names[i]) == 0) {
            return i;
        }
    }
    return GLOVEBOX_HOST_LOG_LEVEL_INFO;
}

static void unescape(char *text) {
    for (char *at = strstr(text, "\\n"); at != NULL; at = strstr(at, "\\n")) {
        *at = '\n';
        memmove(at + 1, at + 2, strlen(at + 2) + 1);
    }
}

static void do_log(char *rest, bool with_field) {
    glovebox_host_log_level_t level = level_of(next_word(&rest, " "));
    agent_string_t message;
    agent_tuple2_string_string_t field;
    agent_list_tuple2_string_string_t fields = {&field, with_field ? 1 : 0};
    char *text = with_field ? next_word(&rest, " ") : rest;
    if (text != NULL) {
        unescape(text);
    }
    set(&message, text);
    if (with_field) {
        set(&field.f0, next_word(&rest, " "));
        set(&field.f1, rest);
    }
    glovebox_host_log_log(level, &message, &fields);
}

static void do_longlog(char *rest) {
    char *word = next_word(&rest, " ");
    uint32_t len = 0;
    if (word == NULL || !parse_u32(word, &len)) {
        return;
    }
    char *chars = malloc(len + 1);
    memset(chars, 'x', len);
    chars[len] = '\0';
    agent_string_t message;
    agent_list_tuple2_string_string_t fields = {NULL, 0};
    set(&message, chars);
    glovebox_host_log_log(GLOVEBOX_HOST_LOG_LEVEL_INFO, &message, &fields);
    free(chars);
}

static void add_option(struct text *answer, const char *name, bool some, uint64_t value) {
    text_adds(answer, name);
    if (some) {
        text_addu(answer, value);
    } else {
        text_adds(answer, "none");
    }
    text_adds(answer, "\n");
}

static void do_context(struct text *answer) {
    agent_string_t value;
    uint64_t number = 0;
    text_adds(answer, "call-id ");
    glovebox_host_context_call_id(&value);
    text_add(answer, (const char *)value.ptr, value.len);
    text_adds(answer, "\ntenant ");
    glovebox_host_context_tenant(&value);
    text_add(answer, (const char *)value.ptr, value.len);
    text_adds(answer, "\ntraceparent ");
    if (glovebox_host_context_traceparent(&value)) {
        text_add(answer, (const char *)value.ptr, value.len);
    } else {
        text_adds(answer, "none");
    }
    text_adds(answer, "\n");
    bool some = glovebox_host_context_remaining_time_us(&number);
    add_option(answer, "remaining-time-us ", some, number);
    some = glovebox_host_context_remaining_fuel(&number);
    add_option(answer, "remaining-fuel ", some, number);
}

static bool run_statement(char *statement, struct text *answer) {
    char *verb = next_word(&statement, " ");
    agent_string_t name;
    double level = 0;
    uint32_t count = 0;
    if (verb == NULL) {
        return true;
    }
    if (strcmp(verb, "counter") == 0) {
        set(&name, next_word(&statement, " "));
        char *word = next_word(&statement, " ");
        bool most = word != NULL && strcmp(word, "max") == 0;
        if (!most && (word == NULL || !parse_u32(word, &count))) {
            return false;
        }
        glovebox_host_metrics_counter(&name, most ? UINT64_MAX : count);
    } else if (strcmp(verb, "gauge") == 0) {
        set(&name, next_word(&statement, " "));
        char *word = next_word(&statement, " ");
        bool nan = word != NULL && strcmp(word, "nan") == 0;
        if (!nan && (word == NULL || !parse_decimal(word, &level))) {
            return false;
        }
        glovebox_host_metrics_gauge(&name, nan ? __builtin_nan("") : level);
    } else if (strcmp(verb, "log") == 0 || strcmp(verb, "logfields") == 0) {
        do_log(statement, verb[3] != '\0');
    } else if (strcmp(verb, "longlog") == 0) {
        do_longlog(statement);
    } else if (strcmp(verb, "context") == 0) {
        do_context(answer);
    } else {
        return false;
    }
    return true;
}

/* The statement with the number of the turn where it has a "#". */
static char *numbered(const char *statement, uint32_t turn) {
    struct text text = {0};
    for (const char *at = statement; *at != '\0'; at++) {
        if (*at == '#') {
            text_addu(&text, turn);
        } else {
            text_add(&text, at, 1);
        }
    }
    text_add(&text, "", 1);
    return text.chars;
}

static bool run_repeated(char *statement, struct text *answer) {
    char *start = statement + strspn(statement, " ");
    uint32_t turns = 1;
    if (strncmp(start, "repeat ", 7) == 0) {
        start += 7;
        char *word = next_word(&start, " ");
        if (word == NULL || !parse_u32(word, &turns) || start == NULL) {
            return false;
        }
    }
    for (uint32_t i = 0; i < turns; i++) {
        char *copy = numbered(start, i);
        bool ok = run_statement(copy, answer);
        free(copy);
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    struct text answer = {0};
    char *script = arg_text(arg);
    for (char *statement = next_word(&script, ";"); statement != NULL;
         statement = next_word(&script, ";")) {
        if (!run_repeated(statement, &answer)) {
            struct text error = {0};
            text_adds(&error, "host-probe: cannot read the statements");
            return answer_err(&error, err);
        }
    }
    return answer_ok(&answer, ret);
}
