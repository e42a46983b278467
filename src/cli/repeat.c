/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop that keeps calls in flight. Times are taken here, from the start of a call until its end
 * was seen, so that waiting counts. The array of times is made and touched before the first call:
 * what grows afterwards grows because of the calls.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/num.h"
#include "cli/series.h"

#define CANCEL_GRACE_US ((uint64_t)5000000)

struct gb_series_slot {
    struct gb_series *series;
    uint64_t start_ns;
    bool busy;
};

_Static_assert(GB_CODE_COUNT <= 64, "every code has its counter");

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- the end of a call ---- */

static void add_usage(struct gb_usage_report *sum, const struct gb_usage_report *u) {
    sum->wall_us += u->wall_us;
    sum->fuel += u->fuel;
    sum->fuel_measured = sum->fuel_measured || u->fuel_measured;
    sum->memory_peak_bytes = GB_MAX(sum->memory_peak_bytes, u->memory_peak_bytes);
    sum->ledger_peak_bytes = GB_MAX(sum->ledger_peak_bytes, u->ledger_peak_bytes);
    sum->stdout_bytes += u->stdout_bytes;
    sum->stderr_bytes += u->stderr_bytes;
    sum->stdout_dropped_bytes += u->stdout_dropped_bytes;
    sum->stderr_dropped_bytes += u->stderr_dropped_bytes;
    sum->inference_calls += u->inference_calls;
    sum->inference_us += u->inference_us;
    sum->queue_us += u->queue_us;
    sum->crossing_us += u->crossing_us;
    sum->instantiate_us += u->instantiate_us;
}

static void keep(struct gb_series *s, struct gb_result *result, bool failed) {
    if (s->about_failed) {
        gb_result_free(result);
        return;
    }
    gb_result_free(s->about);
    s->about = result;
    s->about_failed = failed;
}

static void count_end(struct gb_series *s, struct gb_series_slot *slot,
                      const struct gb_error *error) {
    s->times_ns[s->ended++] = now_ns() - slot->start_ns;
    slot->busy = false;
    if (!error) {
        s->ok++;
        return;
    }
    s->codes[error->code]++;
    if (!s->first_error) {
        s->first_error = gb_error_copy(error);
    }
}

static void call_done(void *user, struct gb_result *result) {
    struct gb_series_slot *slot = user;
    struct gb_series *s = slot->series;
    const struct gb_error *error = gb_result_error(result);
    count_end(s, slot, error);
    struct gb_usage_report usage;
    gb_result_usage(result, &usage);
    add_usage(&s->usage, &usage);
    if (s->spec.print_each) {
        gb_result_print_answer(result);
    }
    keep(s, result, error != NULL);
}

/* ---- the loop ---- */

static void start_calls(struct gb_series *s) {
    for (uint64_t i = 0; i < s->spec.jobs && s->started < s->spec.calls && !s->stopped; i++) {
        struct gb_series_slot *slot = &s->slots[i];
        if (slot->busy) {
            continue;
        }
        struct gb_call_options call = s->spec.call;
        call.done = call_done;
        call.user = slot;
        struct gb_error *e = NULL;
        slot->busy = true;
        slot->start_ns = now_ns();
        s->started++;
        if (!gb_guest_call(s->spec.guest, &call, &e)) {
            count_end(s, slot, e);
            gb_error_free(e);
        }
    }
}

/* Cancels everything once; true when waiting for the end of it is over, too. */
static bool stop_now(struct gb_series *s, uint64_t *deadline_us) {
    if (!s->stopped) {
        s->stopped = true;
        *deadline_us = gb_deadline_after_us(CANCEL_GRACE_US);
        gb_host_cancel_all(s->spec.host, gb_signals_caught() != 0);
    }
    s->stuck = gb_now_us() >= *deadline_us;
    return s->stuck;
}

static void wait_for_something(struct gb_series *s) {
    struct pollfd fds[2] = {{.fd = gb_host_fd(s->spec.host), .events = POLLIN},
                            {.fd = s->stopped ? -1 : gb_signals_fd(), .events = POLLIN}};
    (void)poll(fds, 2, s->stopped ? 100 : -1);
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

/* Nearest rank, in microseconds. */
static uint64_t percentile_us(const uint64_t *sorted_ns, uint64_t len, uint64_t percent) {
    uint64_t rank = (len * percent + 99) / 100;
    return (sorted_ns[rank > 0 ? rank - 1 : 0] + 500) / 1000;
}

static void summarise(struct gb_series *s) {
    struct gb_series_summary *sum = &s->summary;
    *sum = (struct gb_series_summary){.calls = s->ended, .ok = s->ok, .codes = s->codes};
    if (s->ended == 0) {
        return;
    }
    qsort(s->times_ns, (size_t)s->ended, sizeof *s->times_ns, compare_u64);
    uint64_t total_ns = 0;
    for (uint64_t i = 0; i < s->ended; i++) {
        total_ns += s->times_ns[i];
    }
    sum->mean_us = (total_ns / s->ended + 500) / 1000;
    sum->p50_us = percentile_us(s->times_ns, s->ended, 50);
    sum->p99_us = percentile_us(s->times_ns, s->ended, 99);
    sum->max_us = (s->times_ns[s->ended - 1] + 500) / 1000;
}

void gb_series_run(struct gb_series *s) {
    uint64_t stop_deadline_us = GB_NEVER;
    gb_signals_set_polling(true);
    for (;;) {
        if ((gb_signals_caught() != 0 || gb_out_failed(STDOUT_FILENO)) &&
            stop_now(s, &stop_deadline_us)) {
            break;
        }
        uint64_t before = s->ended; /* a call may end by not starting */
        start_calls(s);
        uint64_t target = s->stopped ? s->started : s->spec.calls;
        if (s->ended >= target) {
            break;
        }
        gb_host_step(s->spec.host, 0);
        if (s->ended == before) {
            wait_for_something(s);
        }
    }
    summarise(s);
}

bool gb_series_init(struct gb_series *s, const struct gb_series_spec *spec, struct gb_error **err) {
    *s = (struct gb_series){.spec = *spec};
    s->slots = gb_calloc((size_t)spec->jobs, sizeof *s->slots, err);
    s->times_ns = s->slots ? gb_calloc((size_t)spec->calls, sizeof *s->times_ns, err) : NULL;
    if (!s->times_ns) {
        gb_series_fini(s);
        return false;
    }
    memset(s->times_ns, 0xff, (size_t)spec->calls * sizeof *s->times_ns);
    for (uint64_t i = 0; i < spec->jobs; i++) {
        s->slots[i].series = s;
    }
    return true;
}

void gb_series_fini(struct gb_series *s) {
    gb_free(s->slots);
    gb_free(s->times_ns);
    gb_error_free(s->first_error);
    gb_result_free(s->about);
    *s = (struct gb_series){0};
}
