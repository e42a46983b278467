/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operators' log: one line per event on a descriptor (stderr by default). Below cli/ and serve/
 * code returns errors and logs at debug or info only. Text is escaped. Threads: any.
 */
#ifndef GB_BASE_LOG_H
#define GB_BASE_LOG_H

#include <stddef.h>

enum gb_log_level { GB_LOG_DEBUG, GB_LOG_INFO, GB_LOG_WARN, GB_LOG_ERROR, GB_LOG_OFF };

void gb_log_set_level(enum gb_log_level level);
enum gb_log_level gb_log_level(void);
void gb_log(enum gb_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Where lines go from now on, whole and with their newline; NULL: to stderr, at once. Set while no
 * other thread logs; the sink may be entered by any. */
void gb_log_set_sink(void (*sink)(void *user, const char *line, size_t len), void *user);

#endif
