/* SPDX-License-Identifier: Apache-2.0 */
/* How many cores this process may run on. Threads: any. */
#ifndef GB_BASE_CORES_H
#define GB_BASE_CORES_H

#include <stdint.h>

uint32_t gb_cores(void); /* at least 1 */

#endif
