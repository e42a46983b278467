/* SPDX-License-Identifier: Apache-2.0 */
/* How long something may take here: what is promised, times the factor by which this machine may be
 * slower. As in the black-box tests: GLOVEBOX_SLACK, else 1 in the long form, else 5. For upper
 * bounds only, and for the times in a test's own plan that such a bound must stay away from. */
#ifndef GB_TESTS_TEST_SLACK_H
#define GB_TESTS_TEST_SLACK_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
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

/* How long the threads of this process have been ready to run and were not let, all together. A
 * bound on the time of our own threads has this on top; 0 where the kernel does not count it. */
static inline uint64_t test_starved_us(void) {
    uint64_t sum_ns = 0;
    DIR *threads = opendir("/proc/self/task");
    for (struct dirent *thread; threads && (thread = readdir(threads)) != NULL;) {
        char path[300];
        char text[128] = "";
        (void)snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", thread->d_name);
        FILE *file = thread->d_name[0] != '.' ? fopen(path, "re") : NULL;
        if (file && fgets(text, sizeof text, file)) {
            char *waited = strchr(text, ' '); /* after the time on a CPU */
            sum_ns += waited ? strtoull(waited, NULL, 10) : 0;
        }
        if (file) {
            (void)fclose(file);
        }
    }
    if (threads) {
        (void)closedir(threads);
    }
    return sum_ns / 1000;
}

#endif
