/* SPDX-License-Identifier: Apache-2.0 */
/* Answers with its argument. */
#include "agent.h"

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    (void)err;
    *ret = *arg; /* the argument is ours, and becomes the caller's */
    return true;
}
