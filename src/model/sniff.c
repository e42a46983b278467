/* SPDX-License-Identifier: Apache-2.0 */
/* What a file is, by its first bytes: people give the wrong file more often than a broken one. */
#include "model/model_internal.h"

bool gb_sniff_is_gguf(struct gb_span bytes) {
    return bytes.len >= 4 && memcmp(bytes.ptr, "GGUF", 4) == 0;
}

const char *gb_sniff(struct gb_span bytes) {
    static const struct {
        uint8_t offset;
        uint8_t len;
        const char *magic;
        const char *text;
    } kinds[] = {
        {0, 4, "GGUF", "a GGUF language model"},
        {0, 4, "PK\x03\x04", "a zip archive, such as a PyTorch or Keras checkpoint"},
        {0, 4, "\x89HDF", "an HDF5 file, such as an old Keras model"},
        {0, 22, "version https://git-lf", "a Git LFS pointer and not the file it stands for"},
        {4, 4, "TFL3", "a TensorFlow Lite model"},
        {4, 4, "ORTM", "a model in the engine's own ORT format"},
        {0, 2, "\x1f\x8b", "a gzip archive"},
        {0, 4, "\x28\xb5\x2f\xfd", "a zstd archive"},
        {0, 4, "\x7f" "ELF", "a program"},
        {0, 4, "\0asm", "a WebAssembly file"},
        {0, 4, "%PDF", "a PDF document"},
        {0, 1, "\x80", "a Python pickle, such as an old PyTorch checkpoint"},
        {8, 2, "{\"", "a safetensors file"},
    };
    for (size_t i = 0; i < GB_COUNT(kinds); i++) {
        if (gb_range_ok(kinds[i].offset, kinds[i].len, bytes.len) &&
            memcmp(bytes.ptr + kinds[i].offset, kinds[i].magic, kinds[i].len) == 0) {
            return kinds[i].text;
        }
    }
    size_t i = 0;
    while (i < bytes.len && i < 64 && memchr(" \t\r\n\xef\xbb\xbf", bytes.ptr[i], 7)) {
        i++;
    }
    if (i == bytes.len) {
        return NULL;
    }
    return bytes.ptr[i] == '<'                              ? "an HTML or XML page"
           : bytes.ptr[i] == '{' || bytes.ptr[i] == '['     ? "a JSON document"
                                                            : NULL;
}
