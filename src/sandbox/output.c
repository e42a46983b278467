/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's stdout and stderr: capped each, kept (and charged) or passed on as they come. Past
 * the cap the call ends, or the rest is counted and dropped.
 */
#include "sandbox/sandbox_internal.h"

static bool keep(struct gb_call *c, struct gb_output *o, struct gb_span bytes,
                 struct gb_error **err) {
    if (!gb_charge(c->account, GB_CHARGE_OUTPUT, bytes.len, err)) {
        return false;
    }
    if (!gb_buf_append(&o->kept, bytes.ptr, bytes.len, err)) {
        gb_uncharge(c->account, GB_CHARGE_OUTPUT, bytes.len);
        return false;
    }
    c->output_charged += bytes.len;
    return true;
}

bool gb_output_write(struct gb_call *c, enum gb_output_stream stream, struct gb_span bytes,
                     struct gb_error **err) {
    struct gb_output *o = stream == GB_OUTPUT_STDERR ? &c->err_out : &c->out;
    uint64_t room = c->limits.output_bytes - o->written;
    struct gb_span fits = gb_span_make(bytes.ptr, (size_t)GB_MIN((uint64_t)bytes.len, room));
    if (fits.len > 0) {
        if (c->spec.output) {
            c->spec.output(c->spec.user, stream, fits);
        } else if (!keep(c, o, fits, err)) {
            return false;
        }
        o->written += fits.len;
    }
    if (fits.len == bytes.len) {
        return true;
    }
    o->dropped += bytes.len - fits.len;
    if (c->limits.overflow == GB_OVERFLOW_DROP) {
        return true;
    }
    char limit[GB_AMOUNT_CAP];
    gb_fail(err, GB_OUTPUT_LIMIT, "the guest wrote more than %s to %s",
            gb_text_bytes(c->limits.output_bytes, limit),
            stream == GB_OUTPUT_STDERR ? "stderr" : "stdout");
    return gb_hint(err, "Raise the limit with --output-limit, or drop the rest with "
                        "--on-overflow drop.");
}
