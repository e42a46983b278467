/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What our sample guests share: a growing text, a walk over words, and an agent's answer.
 * A guest serves one call and then its whole memory goes away, so little is freed here.
 */
#ifndef GUEST_COMMON_GUEST_H
#define GUEST_COMMON_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent.h"

struct text {
    char *chars;
    size_t len;
    size_t room;
};

/* All append; a guest without memory traps. Not printf: in this libc it brings in the whole of
 * stdio, so that an agent that only computes would ask its host for files and clocks. */
void text_add(struct text *text, const char *chars, size_t len);
void text_adds(struct text *text, const char *string);
void text_addu(struct text *text, uint64_t value);
/* With three decimals; for values far below 2^64 only. */
void text_addfixed(struct text *text, double value);

/* Hands the text over as the ok or err value of run(). */
bool answer_ok(struct text *text, agent_string_t *ret);
bool answer_err(struct text *text, agent_string_t *err);

/* The argument of run() as a C string of our own. */
char *arg_text(const agent_string_t *arg);

/* Cuts the next word (up to a character of `ends`) out of *rest; NULL at the end. */
char *next_word(char **rest, const char *ends);

/* A decimal number that fills the whole word. */
bool parse_u32(const char *word, uint32_t *ret_value);

/* Sign, digits, fraction: "-12.5"; no exponent. */
bool parse_decimal(const char *word, double *ret_value);

#endif
