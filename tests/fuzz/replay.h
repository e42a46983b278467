/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target as a program that runs it once over each file that it is given: its seeds in
 * `./test`, or an input that crashed, without libFuzzer. Included once, at the end of a target.
 */
#ifndef GB_FUZZ_REPLAY_H
#define GB_FUZZ_REPLAY_H

#ifdef GB_FUZZ_REPLAY
#include <stdio.h>

#include "base/alloc.h"
#include "base/file.h"

#define GB_FUZZ_REPLAY_BYTES_MAX ((size_t)64 << 20)

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        struct gb_error *err = NULL;
        uint8_t *bytes = NULL;
        size_t len = 0;
        if (!gb_file_read(argv[i], GB_FUZZ_REPLAY_BYTES_MAX, GB_INVALID_ARGUMENT, &bytes, &len,
                          &err)) {
            fprintf(stderr, "%s: %s\n", argv[i], err->message);
            gb_error_free(err);
            return 1;
        }
        LLVMFuzzerTestOneInput(bytes, len);
        gb_free(bytes);
    }
    return 0;
}
#endif

#endif
