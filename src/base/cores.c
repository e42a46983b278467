/* SPDX-License-Identifier: Apache-2.0 */
/* The affinity mask counts, not the machine: a container or taskset may leave us fewer. */
#include "base/cores.h"

#include <sched.h>

uint32_t gb_cores(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? (uint32_t)n : 1;
}
