/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this module share and nobody else sees: the model object, its sidecar, digests.
 *
 * A model's file is read when it is added (checked, hashed, dropped) and again when its worker
 * starts; the second reading must have the first one's digest, so nothing unchecked is ever loaded
 * and no weights lie in our memory for models that are not used.
 * Threads: filled by one thread, then read by any. Ownership: the registry owns its models.
 */
#ifndef GB_MODEL_INTERNAL_H
#define GB_MODEL_INTERNAL_H

#include "base/num.h"
#include "model/model.h"

struct gb_worker; /* model/worker.h */

#define GB_DIGEST_TEXT_BYTES (7 + 64 + 1) /* "sha256:" and 64 hex digits */
#define GB_SIDECAR_BYTES_MAX (64 * GB_KIB)

/* <stem>.toml; absent keys keep the registry's defaults. */
struct gb_sidecar {
    char digest[GB_DIGEST_TEXT_BYTES]; /* empty: not pinned */
    char *layout;                      /* may be NULL; gb_free */
    uint32_t threads;                  /* 0: the registry's */
    uint64_t deadline_us;              /* 0: none of its own */
    bool warm_up;
};

struct gb_model {
    struct gb_registry *registry;
    struct gb_model_info info; /* what gb_model_info shows; points into the fields below */
    char *name;
    char *path;
    char digest[GB_DIGEST_TEXT_BYTES];
    struct gb_sidecar sidecar;
    struct gb_port *ports; /* inputs, then outputs */
    char **findings;
    struct gb_error *reason;
    struct gb_worker *worker; /* NULL until started */
};

/* ---- sidecar.c ---- */
void gb_sidecar_init(struct gb_sidecar *s);
void gb_sidecar_fini(struct gb_sidecar *s);
/* text is a whole TOML document; path is for messages only ("file:line:col"). */
bool gb_sidecar_parse(struct gb_span text, const char *path, struct gb_sidecar *ret_sidecar,
                      struct gb_error **err);

/* ---- digest.c ---- */
bool gb_digest_sha256(struct gb_span bytes, char ret_text[GB_DIGEST_TEXT_BYTES],
                      struct gb_error **err);
/* "sha256:" and 64 lower-case hex digits. */
bool gb_digest_text_ok(struct gb_span text);

#endif
