/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile: never returns and never calls the host. */
#include "agent.h"

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    (void)arg;
    (void)ret;
    (void)err;
    for (volatile uint32_t turns = 0;;) {
        turns = turns + 1;
    }
}
