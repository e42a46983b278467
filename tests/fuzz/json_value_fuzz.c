/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON to values: no crash, no leak, an error exactly when it fails; and what was read is written
 * as JSON that reads and writes the same again. The first byte chooses the type; past the last one
 * the rest is read as arguments. Built without libFuzzer (GB_FUZZ_REPLAY) it runs the files given.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "value_types.h"

#define INPUT_BYTES_MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static void written(uint32_t type, const struct gb_value *value, struct gb_buf *out) {
    struct gb_error *err = NULL;
    gb_buf_init(out, SIZE_MAX / 2);
    require(gb_value_write(&t_signature, type, value, out, &err), "what was read can be written");
    require(!err, "no error without failure");
}

static void round_trip(uint32_t type, const struct gb_value *value) {
    struct gb_buf first, second;
    struct gb_error *err = NULL;
    written(type, value, &first);
    struct gb_values *again = gb_values_read_one(&t_signature, type, "again", gb_buf_span(&first),
                                                 INPUT_BYTES_MAX * 10, NULL, &err);
    require(again && !err, "what was written can be read");
    size_t len;
    written(type, gb_values_items(again, &len), &second);
    require(len == 1 && gb_span_eq(gb_buf_span(&first), gb_buf_span(&second)), "the same again");
    gb_buf_fini(&first);
    gb_buf_fini(&second);
    gb_values_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    struct gb_error *err = NULL;
    uint8_t type = len > 0 ? bytes[0] : 0;
    struct gb_span json = gb_span_make(bytes + (len > 0 ? 1 : 0), len > 0 ? len - 1 : 0);
    bool one = type < T_COUNT;
    struct gb_values *v =
        one ? gb_values_read_one(&t_signature, type, "value", json, INPUT_BYTES_MAX, NULL, &err)
            : gb_values_read(&t_signature, json, INPUT_BYTES_MAX, NULL, &err);
    require((v != NULL) == (err == NULL), "an error if and only if it fails");
    if (v) {
        size_t items_len;
        const struct gb_value *items = gb_values_items(v, &items_len);
        require(items_len == (one ? 1 : t_signature.params_len), "as many values as wanted");
        for (size_t i = 0; i < items_len; i++) {
            round_trip(one ? type : t_members[t_signature.params + i].type, &items[i]);
        }
    } else {
        require(err->code == GB_INVALID_ARGUMENT || err->code == GB_UNSUPPORTED, "two codes only");
    }
    gb_values_free(v);
    gb_error_free(err);
    return 0;
}

#include "replay.h"
