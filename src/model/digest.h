/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests of files as users write them: "sha256:" and 64 lower-case hexadecimal digits.
 * Threads: any.
 */
#ifndef GB_MODEL_DIGEST_H
#define GB_MODEL_DIGEST_H

#include "base/error.h"
#include "base/span.h"

#define GB_DIGEST_TEXT_BYTES (7 + 64 + 1)

bool gb_digest_sha256(struct gb_span bytes, char ret_text[GB_DIGEST_TEXT_BYTES],
                      struct gb_error **err);
/* Of the 32 bytes of a SHA-256. */
void gb_digest_format(const uint8_t *sum, char ret_text[GB_DIGEST_TEXT_BYTES]);
bool gb_digest_text_ok(struct gb_span text);

#endif
