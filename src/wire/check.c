/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host believes of a worker's answer, and what either side believes of a slab. The callers
 * pass private copies: nothing here may be called on shared memory, except gb_slab_check, which
 * runs in the worker, who trusts the host.
 *
 * Threads: any. Errors: GB_BACKEND_FAILED for anything a sane worker would not say; the caller then
 * kills it.
 */
#include <string.h>

#include "base/num.h"
#include "wire/wire.h"

bool gb_wire_port_check(const struct gb_port *port, struct gb_error **err) {
    if (memchr(port->name, '\0', sizeof port->name) == NULL || port->name[0] == '\0') {
        return gb_fail(err, GB_BACKEND_FAILED, "a port has no name");
    }
    if (port->rank > GB_WIRE_RANK_MAX) {
        return gb_fail(err, GB_BACKEND_FAILED, "a port has %u dimensions, more than %u",
                       port->rank, GB_WIRE_RANK_MAX);
    }
    if (port->type >= GB_TYPE_COUNT && port->type != GB_TYPE_OTHER) {
        return gb_fail(err, GB_BACKEND_FAILED, "a port has the unknown type %u", port->type);
    }
    for (size_t i = 0; i < GB_WIRE_RANK_MAX; i++) {
        if (port->dims[i] < -1) {
            return gb_fail(err, GB_BACKEND_FAILED, "a port has the dimension %lld",
                           (long long)port->dims[i]);
        }
        if (memchr(port->symbols[i], '\0', sizeof port->symbols[i]) == NULL) {
            return gb_fail(err, GB_BACKEND_FAILED, "a port has an endless symbol");
        }
    }
    return true;
}

void gb_slab_init(struct gb_slab_head *slab, uint64_t slab_bytes) {
    slab->magic = GB_WIRE_MAGIC;
    slab->version = GB_WIRE_VERSION;
    slab->slab_bytes = slab_bytes;
    atomic_store(&slab->submit.head, 0);
    atomic_store(&slab->submit.tail, 0);
    atomic_store(&slab->complete.head, 0);
    atomic_store(&slab->complete.tail, 0);
    atomic_store(&slab->worker_spinning, 0);
}

bool gb_slab_check(const struct gb_slab_head *slab, uint64_t slab_bytes, struct gb_error **err) {
    if (slab_bytes < GB_SLAB_DATA_OFFSET || slab->magic != GB_WIRE_MAGIC ||
        slab->version != GB_WIRE_VERSION || slab->slab_bytes != slab_bytes) {
        return gb_fail(err, GB_BACKEND_INCOMPATIBLE,
                       "the slab of %llu bytes is not one of protocol version %u",
                       (unsigned long long)slab_bytes, GB_WIRE_VERSION);
    }
    return true;
}

bool gb_wire_completion_check(const struct gb_completion *c, uint64_t job_id,
                              struct gb_error **err) {
    if (c->job_id != job_id) {
        return gb_fail(err, GB_BACKEND_FAILED, "a completion names job %llu instead of %llu",
                       (unsigned long long)c->job_id, (unsigned long long)job_id);
    }
    if (c->status > GB_JOB_NEED_SPACE) {
        return gb_fail(err, GB_BACKEND_FAILED, "a completion has the unknown status %u", c->status);
    }
    if (c->status == GB_JOB_FAILED ? (c->code == GB_OK || c->code >= GB_CODE_COUNT)
                                   : c->code != GB_OK) {
        return gb_fail(err, GB_BACKEND_FAILED, "a completion of status %u has the code %u",
                       c->status, c->code);
    }
    return true;
}

/* One output's claim against its port and its block. */
static bool output_check(const struct gb_wire_tensor *t, uint32_t index, const struct gb_port *port,
                         const struct gb_wire_block *block, bool need_space,
                         uint64_t output_bytes_max, struct gb_error **err) {
    if (t->port != index || t->rank != port->rank || t->rank > GB_WIRE_RANK_MAX) {
        return gb_fail(err, GB_BACKEND_FAILED, "output %u has %u dimensions instead of %u", index,
                       t->rank, port->rank);
    }
    for (size_t i = 0; i < t->rank; i++) {
        if (port->dims[i] >= 0 && t->dims[i] != (uint64_t)port->dims[i]) {
            return gb_fail(err, GB_BACKEND_FAILED,
                           "output %u has %llu in dimension %zu instead of %lld", index,
                           (unsigned long long)t->dims[i], i, (long long)port->dims[i]);
        }
    }
    uint64_t bytes = 0;
    if (port->type == GB_TYPE_OTHER) {
        bytes = t->bytes; /* never read: such an output has no block and no bytes */
        if (bytes != 0) {
            return gb_fail(err, GB_BACKEND_FAILED, "output %u cannot be carried", index);
        }
    } else if (!gb_tensor_bytes((enum gb_type)port->type, t->dims, t->rank, &bytes) ||
               bytes != t->bytes) {
        return gb_fail(err, GB_BACKEND_FAILED, "output %u has %llu bytes, not what its shape takes",
                       index, (unsigned long long)t->bytes);
    }
    if (bytes > output_bytes_max) {
        return gb_fail(err, GB_BUDGET_EXCEEDED, "output %u takes %llu bytes, the limit is %llu",
                       index, (unsigned long long)bytes, (unsigned long long)output_bytes_max);
    }
    if (!need_space && bytes > 0 && (t->offset != block->offset || bytes > block->capacity)) {
        return gb_fail(err, GB_BACKEND_FAILED, "output %u is not in its block", index);
    }
    return true;
}

bool gb_wire_job_check(struct gb_wire_job *copy, uint64_t job_id, uint32_t inputs,
                       const struct gb_port *outputs, uint32_t outputs_len,
                       const struct gb_wire_block *blocks, bool need_space,
                       uint64_t output_bytes_max, struct gb_error **err) {
    copy->text[sizeof copy->text - 1] = '\0';
    if (copy->job_id != job_id || copy->inputs != inputs || copy->outputs != outputs_len) {
        return gb_fail(err, GB_BACKEND_FAILED, "the block of job %llu was overwritten",
                       (unsigned long long)job_id);
    }
    uint64_t total = 0;
    for (uint32_t i = 0; i < outputs_len; i++) {
        const struct gb_wire_tensor *t = &copy->tensors[(size_t)inputs + i];
        if (!output_check(t, i, &outputs[i], &blocks[i], need_space, output_bytes_max, err)) {
            return false;
        }
        if (!gb_add_u64(total, t->bytes, &total) || total > output_bytes_max) {
            return gb_fail(err, GB_BUDGET_EXCEEDED,
                           "the outputs take more than the limit of %llu bytes",
                           (unsigned long long)output_bytes_max);
        }
    }
    return true;
}
