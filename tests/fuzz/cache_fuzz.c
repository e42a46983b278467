/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of compiled code, over any bytes: no crash, no leak, no descriptor kept, an error exactly
 * when they are refused, and nothing accepted that the key did not make. Every second input gets a
 * valid header for its length, so that what lies behind the first checks is reached too. Built
 * without libFuzzer (GB_FUZZ_REPLAY) it runs the files given.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "sandbox/cache.h"

#define INPUT_BYTES_MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static void refused(const uint8_t *bytes, size_t len) {
    static const struct gb_cache_key key = {.bytes = {0x5a}};
    struct gb_native code;
    struct gb_native_id id;
    struct gb_error *err = NULL;
    bool ok = gb_native_parse(gb_span_make(bytes, len), &key, &code, &id, &err);
    require(!ok, "nobody guesses a MAC");
    require(err && err->code == GB_ARTIFACT_UNTRUSTED && err->message, "one code only");
    gb_error_free(err);
    err = NULL;
    int fd = gb_memfd_new("fuzz", NULL);
    require(fd >= 0 && gb_write_all(fd, bytes, len, NULL), "a memory file");
    ok = gb_native_read(fd, &key, &code, &id, &err);
    require(!ok && err && err->code == GB_ARTIFACT_UNTRUSTED, "a file is refused as memory is");
    gb_error_free(err);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    static const uint8_t head[12] = {0, 'g', 'b', 'x', 'c', 'o', 'd', 'e', 1, 0, 0, 0};
    static uint8_t file[INPUT_BYTES_MAX];
    refused(bytes, len);
    if (len <= GB_NATIVE_HEADER_BYTES + GB_NATIVE_MAC_BYTES || len > sizeof file) {
        return 0;
    }
    memcpy(file, bytes, len);
    memcpy(file, head, sizeof head);
    uint64_t code_len = len - GB_NATIVE_HEADER_BYTES - GB_NATIVE_MAC_BYTES;
    for (size_t i = 0; i < 8; i++) {
        file[80 + i] = (uint8_t)(code_len >> (8 * i));
    }
    refused(file, len);
    return 0;
}

#include "replay.h"
