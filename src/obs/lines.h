/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for a descriptor that may be slow: whoever has one puts it into a bounded buffer, and a
 * thread writes them. What finds the buffer full is dropped and counted, so that a blocked stderr
 * never blocks a request.
 *
 * Threads: put from any; one thread of its own, which also calls `tick` from time to time.
 * Ownership: _new and _free; free writes what is left for as long as the descriptor takes it.
 * Limits: bytes_max of lines that wait.
 */
#ifndef GB_OBS_LINES_H
#define GB_OBS_LINES_H

#include "base/error.h"
#include "base/span.h"

struct gb_lines_options {
    int fd;             /* borrowed */
    size_t bytes_max;   /* 256 KiB */
    uint64_t tick_us;   /* 0: never */
    void (*tick)(void *user);
    void *user;
};
struct gb_lines;
struct gb_lines *gb_lines_new(const struct gb_lines_options *options, struct gb_error **err);
void gb_lines_free(struct gb_lines *l);
/* Ends the thread, and with it the ticks; what is put afterwards is written by free. */
void gb_lines_stop(struct gb_lines *l);
/* With its newline, whole or not at all. */
void gb_lines_put(struct gb_lines *l, struct gb_span line);
struct gb_lines_totals {
    uint64_t written, dropped;
};
struct gb_lines_totals gb_lines_totals(struct gb_lines *l);

#endif
