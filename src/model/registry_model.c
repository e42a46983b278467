/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One model of the registry: made from a file and its sidecar, checked in the order size, digest,
 * format, structure, so that nothing parses bytes that the operator did not mean.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "model/store.h"

#define NAME_BYTES_MAX 128u
#define FINDINGS_MAX 16u

const char *gb_backend_text(enum gb_backend_kind kind) {
    switch (kind) {
    case GB_BACKEND_AUTO:
        return "auto";
    case GB_BACKEND_ONNX:
        return "onnx";
    case GB_BACKEND_GGML:
        return "ggml";
    case GB_BACKEND_OPENVINO:
        return "openvino";
    case GB_BACKEND_FAKE:
        return "fake";
    }
    return "unknown";
}

bool gb_model_name_ok(struct gb_span name) {
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (i == 0 || (c != '.' && c != '_' && c != '-'))) {
            return false;
        }
    }
    return name.len > 0 && name.len <= NAME_BYTES_MAX;
}

struct gb_model *gb_model_new(const char *name, const char *path, struct gb_error **err) {
    struct gb_model *m = gb_calloc(1, sizeof *m, err);
    if (!m) {
        return NULL;
    }
    gb_sidecar_init(&m->sidecar);
    m->stored_fd = -1;
    m->name = gb_strdup(name, err);
    m->path = m->name ? gb_strdup(path, err) : NULL;
    m->findings = m->path ? gb_calloc(FINDINGS_MAX, sizeof *m->findings, err) : NULL;
    if (!m->findings) {
        gb_model_free(m);
        return NULL;
    }
    m->info = (struct gb_model_info){.name = m->name,
                                     .path = m->path,
                                     .digest = m->digest,
                                     .backend = GB_BACKEND_AUTO,
                                     .state = GB_MODEL_STATE_KNOWN,
                                     .findings = (const char *const *)m->findings};
    return m;
}

/* The worker is the registry's to free: it needs the hub. */
void gb_model_free(struct gb_model *m) {
    if (!m) {
        return;
    }
    for (size_t i = 0; m->findings && i < m->info.findings_len; i++) {
        gb_free(m->findings[i]);
    }
    gb_free(m->findings);
    gb_free(m->gguf);
    gb_fd_close(&m->stored_fd);
    gb_free(m->ports);
    gb_error_free(m->reason);
    gb_sidecar_fini(&m->sidecar);
    gb_free(m->path);
    gb_free(m->name);
    gb_free(m);
}

void gb_model_reject(struct gb_model *m, struct gb_error *why) {
    struct gb_error *reason = NULL;
    gb_error_set(&reason, why->code, why->sys_errno, why->where, "model \"%s\": %s", m->name,
                 why->message);
    if (why->hint) {
        gb_hint(&reason, "%s", why->hint);
    }
    if (why->detail) {
        gb_detail(&reason, "%s", why->detail);
    }
    gb_error_set_cause(&reason, why->cause);
    why->cause = NULL;
    gb_error_free(why);
    gb_error_free(m->reason);
    m->reason = reason;
    m->info.reason = reason;
    m->info.state = GB_MODEL_STATE_REJECTED;
}

bool gb_model_set_ports(struct gb_model *m, const struct gb_port *inputs, size_t inputs_len,
                        const struct gb_port *outputs, size_t outputs_len, struct gb_error **err) {
    struct gb_port *ports = gb_calloc(inputs_len + outputs_len + 1, sizeof *ports, err);
    if (!ports) {
        return false;
    }
    if (inputs_len > 0) {
        memcpy(ports, inputs, inputs_len * sizeof *ports);
    }
    if (outputs_len > 0) {
        memcpy(ports + inputs_len, outputs, outputs_len * sizeof *ports);
    }
    gb_free(m->ports);
    m->ports = ports;
    m->info.inputs = ports;
    m->info.inputs_len = inputs_len;
    gb_ports_bind(ports, inputs_len, ports, inputs_len, m->inputs_bound);
    m->info.inputs_bound = m->inputs_bound;
    m->info.outputs = ports + inputs_len;
    m->info.outputs_len = outputs_len;
    return true;
}

bool gb_model_add_finding(struct gb_model *m, const char *text, struct gb_error **err) {
    if (m->info.findings_len == FINDINGS_MAX) {
        return true;
    }
    char *copy = gb_strdup(text, err);
    if (!copy) {
        return false;
    }
    m->findings[m->info.findings_len++] = copy;
    return true;
}

void gb_model_hide_path(struct gb_error **err) {
    struct gb_error *old = *err;
    if (old->code == GB_INTERNAL) { /* memory ran out: no path in it */
        return;
    }
    *err = NULL;
    gb_error_set(err, old->code, old->sys_errno, old->where, "its file cannot be read%s%s",
                 old->sys_errno ? ": " : "", old->sys_errno ? strerrordesc_np(old->sys_errno) : "");
    gb_hint(err, "Make it a regular file that this process may read.");
    gb_detail(err, "%s", old->message);
    gb_error_free(old);
}

bool gb_model_read(const struct gb_model *m, uint64_t bytes_max, uint8_t **ret_bytes,
                   size_t *ret_len, struct gb_error **err) {
    struct gb_error *why = NULL;
    uint8_t *bytes = NULL;
    size_t len = 0;
    char digest[GB_DIGEST_TEXT_BYTES];
    if (!gb_file_read(m->path, (size_t)bytes_max, GB_MODEL_TOO_LARGE, &bytes, &len, &why)) {
        gb_model_hide_path(&why);
        return gb_error_move(err, why);
    }
    if (!gb_digest_sha256(gb_span_make(bytes, len), digest, err)) {
        gb_free(bytes);
        return false;
    }
    if (strcmp(digest, m->digest) != 0) {
        gb_free(bytes);
        gb_fail(err, GB_DIGEST_MISMATCH, "its file changed from %s to %s since it was checked",
                m->digest, digest);
        return gb_hint(err, "Start again, to check the new file.");
    }
    *ret_bytes = bytes;
    *ret_len = len;
    return true;
}

/* digits.onnx -> digits.toml; model -> model.toml */
static char *sidecar_path(const char *path, struct gb_error **err) {
    size_t len = strlen(path);
    if (len > 5 && (strcmp(path + len - 5, ".onnx") == 0 || strcmp(path + len - 5, ".gguf") == 0)) {
        len -= 5;
    }
    return gb_format(err, "%.*s.toml", (int)len, path);
}

static bool load_sidecar(struct gb_model *m, struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup) char *path = sidecar_path(m->path, err);
    GB_CLEANUP(gb_free_cleanup) uint8_t *bytes = NULL;
    size_t len = 0;
    if (!path) {
        return false;
    }
    struct gb_error *why = NULL;
    if (!gb_file_read(path, GB_SIDECAR_BYTES_MAX, GB_MANIFEST_INVALID, &bytes, &len, &why)) {
        if (why->code == GB_NOT_FOUND) {
            gb_error_free(why);
            return true;
        }
        gb_model_hide_path(&why);
        gb_error_move(err, why);
        return gb_hint(err, "Make its .toml a regular file of at most 64 KiB, or remove it.");
    }
    const char *slash = strrchr(path, '/');
    gb_sidecar_fini(&m->sidecar);
    if (!gb_sidecar_parse(gb_span_make(bytes, len), slash ? slash + 1 : path, &m->sidecar, err)) {
        gb_sidecar_init(&m->sidecar);
        return false;
    }
    m->info.layout = m->sidecar.layout;
    m->info.deadline_us = m->sidecar.deadline_us;
    return true;
}

static bool check_digest(const struct gb_model *m, struct gb_error **err) {
    if (m->sidecar.digest[0] == '\0' || strcmp(m->sidecar.digest, m->digest) == 0) {
        return true;
    }
    gb_fail(err, GB_DIGEST_MISMATCH, "its file is %s and its .toml asks for %s", m->digest,
            m->sidecar.digest);
    return gb_hint(err, "Get the right file; change the digest only if you know why it differs.");
}

static bool check_onnx(struct gb_model *m, struct gb_span bytes, struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup)
    struct gb_onnx_summary *summary = gb_calloc(1, sizeof *summary, err);
    struct gb_error *why = NULL;
    if (!summary) {
        return false;
    }
    if (!gb_onnx_check(bytes, summary, &why)) {
        const char *kind = why->code == GB_MODEL_INVALID ? gb_sniff(bytes) : NULL;
        if (!kind) {
            return gb_error_move(err, why);
        }
        gb_fail(err, GB_MODEL_INVALID, "its file is no ONNX model; it looks like %s", kind);
        gb_hint(err, "Give the model as an ONNX file.");
        gb_detail(err, "%s", why->message);
        gb_error_free(why);
        return false;
    }
    m->info.opset = summary->opset;
    for (size_t i = 0; i < summary->findings_len; i++) {
        if (!gb_model_add_finding(m, summary->findings[i], err)) {
            return false;
        }
    }
    return gb_model_set_ports(m, summary->inputs, summary->inputs_len, summary->outputs,
                              summary->outputs_len, err);
}

static enum gb_backend_kind choose_backend(const struct gb_model *m, enum gb_backend_kind backend,
                                           struct gb_span bytes) {
    size_t len = strlen(m->path);
    if (backend != GB_BACKEND_AUTO) {
        return backend;
    }
    bool onnx_name = len > 5 && strcmp(m->path + len - 5, ".onnx") == 0;
    bool gguf_name = len > 5 && strcmp(m->path + len - 5, ".gguf") == 0;
    return gguf_name || (gb_sniff_is_gguf(bytes) && !onnx_name) ? GB_BACKEND_GGML : GB_BACKEND_ONNX;
}

static bool check_gguf(struct gb_model *m, struct gb_span bytes, struct gb_error **err) {
    if (!gb_sniff_is_gguf(bytes)) {
        const char *kind = gb_sniff(bytes);
        gb_fail(err, GB_MODEL_INVALID, "its file is no GGUF model%s%s",
                kind ? "; it looks like " : "", kind ? kind : "");
        return gb_hint(err, "Get the file again, or give it the suffix of its format.");
    }
    struct gb_gguf_summary *summary = gb_calloc(1, sizeof *summary, err);
    if (!summary || !gb_gguf_check(bytes, summary, err)) {
        gb_free(summary);
        return false;
    }
    m->gguf = summary;
    m->info.gguf = summary;
    for (size_t i = 0; i < summary->findings_len; i++) {
        if (!gb_model_add_finding(m, summary->findings[i], err)) {
            return false;
        }
    }
    gb_fail(err, GB_BACKEND_MISSING, "this build has no language-model engine");
    return gb_hint(err, "Use an ONNX model.");
}

bool gb_model_check(struct gb_model *m, struct gb_span bytes, struct gb_error **err) {
    switch (m->info.backend) {
    case GB_BACKEND_FAKE:
        return true;
    case GB_BACKEND_GGML:
        return check_gguf(m, bytes, err);
    case GB_BACKEND_OPENVINO:
        gb_fail(err, GB_BACKEND_MISSING, "this build has no engine for OpenVINO");
        return gb_hint(err, "Use an ONNX model.");
    case GB_BACKEND_AUTO:
    case GB_BACKEND_ONNX:
        break;
    }
    return check_onnx(m, bytes, err);
}

/* Everything about a file; fails with the reason to reject the model. */
static bool check(struct gb_model *m, struct gb_span bytes, struct gb_error **err) {
    /* The store's files come with their digest. */
    return (m->stored_fd >= 0 || gb_digest_sha256(bytes, m->digest, err)) &&
           load_sidecar(m, err) && check_digest(m, err) && gb_model_check(m, bytes, err);
}

bool gb_model_map(int fd, uint64_t bytes, struct gb_span *ret_bytes, struct gb_error **err) {
    void *at = gb_sys(GB_SYS_MMAP, MAP_FAILED,
                      mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fd, 0));
    if (at == MAP_FAILED) {
        gb_fail_errno(err, GB_MODEL_TOO_LARGE, errno, "its file could not be mapped: %s",
                      strerrordesc_np(errno));
        return gb_hint(err, "Raise the limit of address space (ulimit -v).");
    }
    *ret_bytes = gb_span_make(at, (size_t)bytes);
    return true;
}

void gb_model_unmap(struct gb_span bytes) {
    const void *at = bytes.ptr;
    munmap((void *)(uintptr_t)at, bytes.len);
}

/* 0 when it cannot be known: reading it says why. */
static uint64_t file_bytes(const char *path) {
    struct stat st;
    return gb_sys(GB_SYS_STAT, -1, stat(path, &st)) == 0 && S_ISREG(st.st_mode) && st.st_size > 0
               ? (uint64_t)st.st_size
               : 0;
}

/* A file too large for sealed memory: copied into the store, and checked there. Its first bytes are
 * looked at before, because most wrong files are no models at all. */
static bool inspect_stored(struct gb_model *m, enum gb_backend_kind backend, uint64_t bytes,
                           const struct gb_registry_options *options, struct gb_error **err) {
    struct gb_store_file file;
    struct gb_span span;
    uint8_t head[64] = {0};
    int source = gb_file_open(m->path, err);
    if (source < 0) {
        return false;
    }
    ssize_t n = gb_sys(GB_SYS_READ, -1, pread(source, head, sizeof head, 0));
    struct gb_span first = gb_span_make(head, n > 0 ? (size_t)n : 0);
    m->info.bytes = bytes;
    m->info.backend = choose_backend(m, backend, first);
    struct gb_error *why = NULL;
    bool ok = true;
    if (m->info.backend == GB_BACKEND_ONNX && gb_sniff(first)) {
        ok = gb_fail(&why, GB_MODEL_INVALID, "its file is no ONNX model; it looks like %s",
                     gb_sniff(first));
        gb_hint(&why, "Give the model as an ONNX file.");
    }
    ok = ok && gb_store_import(options->cache_dir, source, bytes, &file, &why);
    close(source);
    if (ok) {
        m->stored_fd = file.fd;
        memcpy(m->digest, file.digest, sizeof m->digest);
        ok = gb_model_map(file.fd, bytes, &span, &why);
        if (ok) {
            ok = check(m, span, &why);
            gb_model_unmap(span);
        }
        if (!ok && file.created) {
            gb_store_forget(options->cache_dir, file.digest);
        }
    }
    if (!ok) {
        gb_model_reject(m, why);
    }
    return true;
}

bool gb_model_inspect(struct gb_model *m, enum gb_backend_kind backend,
                      const struct gb_registry_options *options, struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup) uint8_t *bytes = NULL;
    size_t len = 0;
    struct gb_error *why = NULL;
    m->info.backend = choose_backend(m, backend, gb_span_make(NULL, 0));
    uint64_t size = file_bytes(m->path);
    if (size > GB_MODEL_SEALED_BYTES_MAX && size <= options->model_bytes_max) {
        return inspect_stored(m, backend, size, options, err);
    }
    if (!gb_file_read(m->path, (size_t)options->model_bytes_max, GB_MODEL_TOO_LARGE, &bytes, &len,
                      &why)) {
        if (why->code != GB_MODEL_TOO_LARGE) {
            return gb_error_move(err, why);
        }
        gb_error_clear(&why);
        gb_fail(&why, GB_MODEL_TOO_LARGE, "its file is larger than %llu MiB",
                (unsigned long long)(options->model_bytes_max / GB_MIB));
        gb_hint(&why, "Use a smaller or quantised model.");
        gb_model_reject(m, why);
        return true;
    }
    m->info.bytes = len;
    m->info.backend = choose_backend(m, backend, gb_span_make(bytes, len));
    if (!check(m, gb_span_make(bytes, len), &why)) {
        gb_model_reject(m, why);
    }
    return true;
}
