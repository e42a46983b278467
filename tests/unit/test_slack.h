/* SPDX-License-Identifier: Apache-2.0 */
/* How long something may take here: what is promised, times the factor by which this machine may be
 * slower. As in the black-box tests: GLOVEBOX_SLACK, else 1 in the long form, else 5. For upper
 * bounds only, and for the times in a test's own plan that such a bound must stay away from. */
#ifndef GB_TESTS_TEST_SLACK_H
#define GB_TESTS_TEST_SLACK_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline uint64_t test_slack(uint64_t promised) {
    const char *factor = getenv("GLOVEBOX_SLACK");
    if (factor && factor[0] != '\0') {
        return (uint64_t)((double)promised * strtod(factor, NULL));
    }
    const char *is_long = getenv("GLOVEBOX_TEST_LONG");
    return is_long && strcmp(is_long, "1") == 0 ? promised : 5 * promised;
}

#endif
