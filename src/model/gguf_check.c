/* SPDX-License-Identifier: Apache-2.0 */
/* The GGUF validator's front: the first 24 bytes, and the order of the rest. */
#include "base/alloc.h"
#include "model/gguf_internal.h"

#define OLD_HINT "Convert the model again with a current converter."

/* A file of another byte order has its version in the upper half. */
static bool check_version(struct gb_gguf_walk *w) {
    uint32_t version = 0;
    if (!gb_gguf_u32(w, "its version", &version)) {
        return false;
    }
    if (version != 0 && (version & 0xffff) == 0) {
        return gb_gguf_refuse(w, 4, "Convert the model again for little-endian machines.",
                              "the file is written for big-endian machines");
    }
    if (version < 2 || version > 3) {
        return gb_gguf_refuse(w, 4, OLD_HINT, "the file is of version %u of GGUF; 2 and 3 are read",
                              version);
    }
    w->summary->version = version;
    return true;
}

static bool walk(struct gb_gguf_walk *w) {
    uint64_t keys = 0;
    if (w->len < 4 || memcmp(w->bytes, "GGUF", 4) != 0) {
        return gb_gguf_invalid(w, 0, "the file does not begin with \"GGUF\"");
    }
    w->pos = 4;
    return check_version(w) && gb_gguf_u64(w, "the number of tensors", &w->tensors) &&
           gb_gguf_u64(w, "the number of keys", &keys) && gb_gguf_meta_read(w, keys) &&
           gb_gguf_rules_before(w) && gb_gguf_tensors_read(w) && gb_gguf_rules_after(w) &&
           gb_gguf_vocab(w);
}

bool gb_gguf_check(struct gb_span bytes, struct gb_gguf_summary *ret_summary,
                   struct gb_error **err) {
    struct gb_error *why = NULL; /* a hint needs somewhere to go even when nobody wants the error */
    struct gb_gguf_summary summary = {0};
    if (bytes.len == 0) {
        gb_fail(err, GB_MODEL_INVALID, "the file is empty");
        return gb_hint(err, "Convert or download the model again.");
    }
    struct gb_gguf_walk w = {
        .bytes = bytes.ptr, .len = bytes.len, .err = &why, .summary = &summary};
    bool ok = walk(&w);
    gb_gguf_names_fini(&w.keys);
    gb_gguf_names_fini(&w.names);
    gb_free(w.values);
    if (ok) {
        *ret_summary = summary;
    } else {
        gb_error_move(err, why);
    }
    return ok;
}
