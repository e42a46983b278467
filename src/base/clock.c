/* SPDX-License-Identifier: Apache-2.0 */
/* The monotonic clock in microseconds, shared by host and worker (one machine, one clock). */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

uint64_t gb_now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t gb_deadline_after_us(uint64_t span_us) {
    uint64_t deadline;
    return __builtin_add_overflow(gb_now_us(), span_us, &deadline) ? GB_NEVER : deadline;
}

int gb_poll_timeout_ms(uint64_t deadline_us) {
    if (deadline_us == GB_NEVER) {
        return -1;
    }
    uint64_t now = gb_now_us();
    if (deadline_us <= now) {
        return 0;
    }
    uint64_t ms = (deadline_us - now + 999) / 1000;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}
