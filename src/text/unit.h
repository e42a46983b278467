/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Durations and sizes as people write them, on the command line and in files: "30s", "64MiB".
 * Threads: any. Errors: GB_INVALID_ARGUMENT that shows the right form.
 */
#ifndef GB_TEXT_UNIT_H
#define GB_TEXT_UNIT_H

#include <stdint.h>

#include "base/error.h"
#include "base/span.h"

/* A whole number and one of us, ms, s, m. A bare number is an error: nobody knows what it means. */
bool gb_duration_parse(struct gb_span text, uint64_t *ret_us, struct gb_error **err);
/* A whole number of bytes, optionally with KiB, MiB or GiB. */
bool gb_size_parse(struct gb_span text, uint64_t *ret_bytes, struct gb_error **err);

#endif
