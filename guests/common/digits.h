/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the digits agents that does not depend on the revision of wasi:nn. */
#ifndef GUEST_COMMON_DIGITS_H
#define GUEST_COMMON_DIGITS_H

#include "nn.h"

#define DIGITS_MODEL   "digits"
#define DIGITS_INPUT   "input"
#define DIGITS_OUTPUT  "probabilities"
#define DIGITS_PIXELS  64
#define DIGITS_CLASSES 10

/* Reads the first line: 64 values from 0 to 16, between them spaces or commas. */
bool digits_parse(const agent_string_t *arg, float *pixels, struct text *error);

/* "class=7 scores=[0.000 ...]", from the output tensor. */
bool digits_answer(wasi_nn_tensor_own_tensor_t output, struct text *text);

#endif
