/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

static void text_reserve(struct text *text, size_t more) {
    if (more >= SIZE_MAX / 4 - text->len) {
        abort();
    }
    size_t need = text->len + more + 1;
    if (need <= text->room) {
        return;
    }
    size_t room = need * 2;
    char *chars = realloc(text->chars, room);
    if (chars == NULL) {
        abort();
    }
    text->chars = chars;
    text->room = room;
}

void text_add(struct text *text, const char *chars, size_t len) {
    text_reserve(text, len);
    memcpy(text->chars + text->len, chars, len);
    text->len += len;
    text->chars[text->len] = '\0';
}

void text_adds(struct text *text, const char *string) {
    text_add(text, string, strlen(string));
}

void text_addu(struct text *text, uint64_t value) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    text_add(text, digits + at, sizeof(digits) - at);
}

void text_addfixed(struct text *text, double value) {
    if (value < 0) {
        text_adds(text, "-");
        value = -value;
    }
    uint64_t thousandths = (uint64_t)(value * 1000 + 0.5);
    text_addu(text, thousandths / 1000);
    const char decimals[] = {'.', (char)('0' + thousandths / 100 % 10),
                             (char)('0' + thousandths / 10 % 10), (char)('0' + thousandths % 10)};
    text_add(text, decimals, sizeof(decimals));
}

static void hand_over(struct text *text, agent_string_t *ret) {
    text_reserve(text, 0);
    ret->ptr = (uint8_t *)text->chars;
    ret->len = text->len;
}

bool answer_ok(struct text *text, agent_string_t *ret) {
    hand_over(text, ret);
    return true;
}

bool answer_err(struct text *text, agent_string_t *err) {
    hand_over(text, err);
    return false;
}

char *arg_text(const agent_string_t *arg) {
    struct text text = {0};
    text_add(&text, (const char *)arg->ptr, arg->len);
    return text.chars;
}

char *next_word(char **rest, const char *ends) {
    char *word = *rest + strspn(*rest, ends);
    if (*word == '\0') {
        return NULL;
    }
    char *end = word + strcspn(word, ends);
    *rest = end;
    if (*end != '\0') {
        *end = '\0';
        *rest = end + 1;
    }
    return word;
}

bool parse_u32(const char *word, uint32_t *ret_value) {
    uint32_t value = 0;
    if (*word == '\0') {
        return false;
    }
    for (; *word != '\0'; word++) {
        if (*word < '0' || *word > '9' || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint32_t)(*word - '0'), &value)) {
            return false;
        }
    }
    *ret_value = value;
    return true;
}

bool parse_decimal(const char *word, double *ret_value) {
    bool negative = *word == '-';
    if (negative) {
        word++;
    }
    double value = 0;
    double unit = 1;
    bool fraction = false;
    bool digits = false;
    for (; *word != '\0'; word++) {
        if (*word == '.' && !fraction) {
            fraction = true;
        } else if (*word >= '0' && *word <= '9') {
            digits = true;
            value = value * 10 + (*word - '0');
            unit *= fraction ? 10 : 1;
        } else {
            return false;
        }
    }
    *ret_value = (negative ? -value : value) / unit;
    return digits;
}
