/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of model files: what is loaded is known by its bytes, not by its name. */
#include <openssl/evp.h>
#include <stdio.h>

#include "model/model_internal.h"

#define PREFIX "sha256:"
#define SHA256_BYTES 32u

bool gb_digest_sha256(struct gb_span bytes, char ret_text[GB_DIGEST_TEXT_BYTES],
                      struct gb_error **err) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(bytes.ptr, bytes.len, sum, &len, EVP_sha256(), NULL) != 1 ||
        len != SHA256_BYTES) {
        return gb_fail(err, GB_INTERNAL, "the cryptographic library could not compute a digest");
    }
    gb_digest_format(sum, ret_text);
    return true;
}

void gb_digest_format(const uint8_t *sum, char ret_text[GB_DIGEST_TEXT_BYTES]) {
    static const char hex[] = "0123456789abcdef";
    memcpy(ret_text, PREFIX, sizeof PREFIX);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        ret_text[sizeof PREFIX - 1 + 2 * i] = hex[sum[i] >> 4];
        ret_text[sizeof PREFIX + 2 * i] = hex[sum[i] & 15];
    }
    ret_text[GB_DIGEST_TEXT_BYTES - 1] = '\0';
}

bool gb_digest_text_ok(struct gb_span text) {
    size_t prefix = sizeof PREFIX - 1;
    if (text.len != GB_DIGEST_TEXT_BYTES - 1 || memcmp(text.ptr, PREFIX, prefix) != 0) {
        return false;
    }
    for (size_t i = prefix; i < text.len; i++) {
        uint8_t byte = text.ptr[i];
        if (!((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f'))) {
            return false;
        }
    }
    return true;
}
