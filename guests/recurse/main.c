/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile: calls itself until the stack ends. Through a volatile pointer, so that the compiler
 * cannot make a loop of it; without locals in memory, so that the engine's stack ends first. */
#include "agent.h"

static uint32_t deeper(uint32_t depth);
static uint32_t (*volatile next)(uint32_t) = deeper;

static uint32_t deeper(uint32_t depth) {
    return next(depth + 1) * 3 + depth;
}

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    (void)err;
    ret->ptr = arg->ptr;
    ret->len = next(0) == 0 ? 0 : arg->len;
    return true;
}
