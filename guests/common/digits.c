/* SPDX-License-Identifier: Apache-2.0 */
#include "digits.h"

#include <string.h>

bool digits_parse(const agent_string_t *arg, float *pixels, struct text *error) {
    char *rest = arg_text(arg);
    rest[strcspn(rest, "\n")] = '\0';
    size_t count = 0;
    for (char *word = next_word(&rest, " ,\t\r"); word != NULL; word = next_word(&rest, " ,\t\r")) {
        double value;
        if (!parse_decimal(word, &value) || value < 0 || value > 16) {
            text_adds(error, "pixel ");
            text_addu(error, count + 1);
            text_adds(error, " is \"");
            text_adds(error, word);
            text_adds(error, "\": expected a number from 0 to 16");
            return false;
        }
        if (count < DIGITS_PIXELS) {
            pixels[count] = (float)value;
        }
        count++;
    }
    if (count != DIGITS_PIXELS) {
        text_adds(error, "found ");
        text_addu(error, count);
        text_adds(error, " pixels: expected 64 values from 0 to 16 (8 rows of 8)");
        return false;
    }
    return true;
}

bool digits_answer(wasi_nn_tensor_own_tensor_t output, struct text *text) {
    wasi_nn_tensor_tensor_data_t data = {0};
    wasi_nn_tensor_method_tensor_data(wasi_nn_tensor_borrow_tensor(output), &data);
    float scores[DIGITS_CLASSES];
    if (data.len != sizeof(scores)) {
        text_adds(text, "the model answered with ");
        text_addu(text, data.len);
        text_adds(text, " bytes: expected 40 (10 scores)");
        return false;
    }
    memcpy(scores, data.ptr, sizeof(scores));
    int best = 0;
    for (int i = 1; i < DIGITS_CLASSES; i++) {
        if (scores[i] > scores[best]) {
            best = i;
        }
    }
    text_adds(text, "class=");
    text_addu(text, (uint64_t)best);
    for (int i = 0; i < DIGITS_CLASSES; i++) {
        text_adds(text, i == 0 ? " scores=[" : " ");
        text_addfixed(text, (double)scores[i]);
    }
    text_adds(text, "]");
    return true;
}
