/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of one guest, some in flight at once, until all have ended or a signal came. A single call
 * is a series of one. Failures are counted and the series goes on.
 *
 * Threads: the main thread. Ownership: embedded; gb_series_fini frees what it kept.
 */
#ifndef GB_CLI_SERIES_H
#define GB_CLI_SERIES_H

#include "cli/result.h"

#define GB_SERIES_CALLS_MAX 10000000u
#define GB_SERIES_JOBS_MAX 1024u

struct gb_series_spec {
    struct gb_host *host;
    struct gb_guest *guest;
    struct gb_call_options call; /* done and user are the series' own */
    uint64_t calls;
    uint64_t jobs;
    bool print_each; /* captured output and answers of each call, when it ends */
};

struct gb_series_slot;
struct gb_series {
    struct gb_series_spec spec;
    struct gb_series_slot *slots;
    uint64_t *times_ns; /* of every call that ended */
    uint64_t started, ended, ok;
    uint64_t codes[64];
    struct gb_error *first_error;
    struct gb_result *about; /* of the first failure, else of the last call */
    bool about_failed;
    bool stopped; /* by a signal or because nobody reads our output */
    bool stuck;   /* calls did not end when they were cancelled */
    struct gb_usage_report usage; /* counters summed, peaks at their highest */
    struct gb_series_summary summary;
};

bool gb_series_init(struct gb_series *s, const struct gb_series_spec *spec, struct gb_error **err);
void gb_series_run(struct gb_series *s);
void gb_series_fini(struct gb_series *s);

#endif
