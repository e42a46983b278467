/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time. Deadlines are absolute microseconds of CLOCK_BOOTTIME-like monotonic time
 * (CLOCK_MONOTONIC); GB_NEVER means none. Threads: any.
 */
#ifndef GB_BASE_CLOCK_H
#define GB_BASE_CLOCK_H

#include <stdint.h>

#define GB_NEVER UINT64_MAX

uint64_t gb_now_us(void);
/* now + span, saturating at GB_NEVER. */
uint64_t gb_deadline_after_us(uint64_t span_us);
/* Milliseconds for poll/epoll: -1 for GB_NEVER, rounded up, never negative. */
int gb_poll_timeout_ms(uint64_t deadline_us);

#endif
