/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile: takes and touches memory until the host refuses, then traps. */
#include "agent.h"

#include <stdlib.h>

#define CHUNK_BYTES (64u * 1024u)
#define PAGE_BYTES  4096u

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    (void)arg;
    (void)ret;
    (void)err;
    for (;;) {
        volatile uint8_t *chunk = malloc(CHUNK_BYTES);
        if (chunk == NULL) {
            __builtin_trap();
        }
        for (size_t i = 0; i < CHUNK_BYTES; i += PAGE_BYTES) {
            chunk[i] = 1;
        }
    }
}
