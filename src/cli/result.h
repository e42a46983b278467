/* SPDX-License-Identifier: Apache-2.0 */
/* What a run ended with, and its two renderings: text on both streams, or one JSON object. */
#ifndef GB_CLI_RESULT_H
#define GB_CLI_RESULT_H

#include "cli/cli.h"

/* What a series of calls came to. */
struct gb_series_summary {
    uint64_t calls;
    uint64_t ok;
    const uint64_t *codes; /* GB_CODE_COUNT counters */
    uint64_t mean_us, p50_us, p99_us, max_us;
};

struct gb_outcome {
    const struct gb_error *error;   /* NULL: success */
    const struct gb_result *result; /* of the call that it is about; NULL: none was started */
    const struct gb_usage_report *usage;    /* NULL: nothing was measured */
    const struct gb_series_summary *series; /* NULL without --repeat */
};

/* The object of `run --json` on stdout; where memory ran out for it, the error as text. */
void gb_result_print_json(const struct gb_outcome *o);
/* An agent's answer, and what was captured of the streams. */
void gb_result_print_answer(const struct gb_result *r);
void gb_result_print_series(const struct gb_series_summary *s);
void gb_result_print_usage(const struct gb_usage_report *u);
/* By the contract: the guest's own status, or that of the error's code, or 128 + signal. */
int gb_result_status(const struct gb_outcome *o, int signal_number);

#endif
