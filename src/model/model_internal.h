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
#include "model/digest.h"
#include "model/gguf.h"
#include "model/model.h"

struct gb_worker; /* model/worker.h */

#define GB_MODEL_SEALED_BYTES_MAX (64 * GB_MIB) /* larger files come from the store */
#define GB_SIDECAR_BYTES_MAX (64 * GB_KIB)

/* <stem>.toml; absent keys keep the registry's defaults. */
struct gb_sidecar {
    char digest[GB_DIGEST_TEXT_BYTES]; /* empty: not pinned */
    char *layout;                      /* may be NULL; gb_free */
    uint32_t threads;                  /* 0: the registry's */
    uint64_t deadline_us;              /* 0: none of its own */
    bool warm_up;
    enum gb_placement placement;
};

struct gb_model {
    struct gb_model_info info; /* what gb_model_info shows; points into the fields below */
    char *name;
    char *path;
    char digest[GB_DIGEST_TEXT_BYTES];
    struct gb_sidecar sidecar;
    struct gb_port *ports; /* inputs, then outputs */
    uint16_t inputs_bound[GB_DIMS_MAX];
    char **findings;       /* info.findings_len of them */
    struct gb_gguf_summary *gguf; /* NULL: no GGUF file, or not sound */
    struct gb_error *reason;
    int stored_fd;            /* of the store, checked and hashed; -1: a small file */
    struct gb_worker *worker; /* NULL until started */
    struct gb_load *load;     /* NULL: of the registry; else the one it is part of */
};

struct gb_worker_hub;
struct gb_loads;
struct gb_registry {
    struct gb_registry_options options; /* its texts are ours */
    struct gb_worker_hub *hub;
    struct gb_loads *loads;
    struct gb_model **models; /* sorted by name */
    size_t models_len;
    size_t models_cap;
};

/* ---- registry_model.c ---- */

/* A model in the state KNOWN. NULL on failure. */
struct gb_model *gb_model_new(const char *name, const char *path, struct gb_error **err);
void gb_model_free(struct gb_model *m);
/* "[A-Za-z0-9][A-Za-z0-9._-]*", at most 128 bytes: it goes into paths, logs and metrics. */
bool gb_model_name_ok(struct gb_span name);
/* Makes it rejected, with "model "name": " before the message. Takes `why`. */
void gb_model_reject(struct gb_model *m, struct gb_error *why);
/* Replaces an error about a file by one without its path, which goes into the detail: paths are the
 * operators' business, and the reason of a rejected model reaches guests. */
void gb_model_hide_path(struct gb_error **err);
bool gb_model_set_ports(struct gb_model *m, const struct gb_port *inputs, size_t inputs_len,
                        const struct gb_port *outputs, size_t outputs_len, struct gb_error **err);
bool gb_model_add_finding(struct gb_model *m, const char *text, struct gb_error **err);
/* Reads the file and the sidecar and checks both. False, with *err: the file cannot be read.
 * Everything else that is wrong makes the model rejected. */
bool gb_model_inspect(struct gb_model *m, enum gb_backend_kind backend,
                      const struct gb_registry_options *options, struct gb_error **err);
/* All about the bytes of a model, by its backend: what they are, digest and structure. Fails with
 * the reason to reject it. */
bool gb_model_check(struct gb_model *m, struct gb_span bytes, struct gb_error **err);
/* Reads the file of a known model again and compares digests. gb_free the bytes. */
bool gb_model_read(const struct gb_model *m, uint64_t bytes_max, uint8_t **ret_bytes,
                   size_t *ret_len, struct gb_error **err);
/* A stored file as bytes; munmap them. */
bool gb_model_map(int fd, uint64_t bytes, struct gb_span *ret_bytes, struct gb_error **err);
void gb_model_unmap(struct gb_span bytes);

/* ---- registry_start.c ---- */

struct gb_worker_ready; /* model/worker.h */
/* What the engine says must agree with what was checked; then the model is ready. */
bool gb_model_accept(struct gb_model *m, const struct gb_worker_ready *ready,
                     struct gb_error **err);

/* ---- load.c: models from bytes ---- */

struct gb_loads *gb_loads_new(const struct gb_registry_options *options, struct gb_worker_hub *hub,
                              struct gb_error **err);
/* Waits for the thread; no load is started any more. Before the hub goes. NULL is fine. */
void gb_loads_stop(struct gb_loads *loads);
void gb_loads_unref(struct gb_loads *loads);

/* ---- sniff.c ---- */

/* What a file that is no model looks like: "an HTML page"; NULL when nothing is recognised. */
const char *gb_sniff(struct gb_span bytes);
bool gb_sniff_is_gguf(struct gb_span bytes);

/* ---- sidecar.c ---- */
void gb_sidecar_init(struct gb_sidecar *s);
void gb_sidecar_fini(struct gb_sidecar *s);
/* text is a whole TOML document; path is for messages only ("file:line:col"). */
bool gb_sidecar_parse(struct gb_span text, const char *path, struct gb_sidecar *ret_sidecar,
                      struct gb_error **err);

#endif
