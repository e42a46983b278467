/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wasi:http between the bridge's table and the gb_http_io that the call was given: the same
 * functions over our own types, and the charges of what the bridge keeps for the guest.
 */
#include "sandbox/sandbox_internal.h"

_Static_assert((int)GB_IO_OK == (int)GBW_IO_OK && (int)GB_IO_PENDING == (int)GBW_IO_PENDING &&
                   (int)GB_IO_END == (int)GBW_IO_END && (int)GB_IO_ERROR == (int)GBW_IO_ERROR,
               "passed through as they are");

#define FIELD_BYTES 128u /* beside the text of a name and a value, in the bridge */

static struct gb_http_field *of_bridge_fields(const struct gbw_field *fields, size_t len,
                                              struct gb_error **err) {
    struct gb_http_field *ours = gb_calloc(len ? len : 1, sizeof *ours, err);
    for (size_t i = 0; ours && i < len; i++) {
        ours[i] = (struct gb_http_field){.name = gb_of_bridge(fields[i].key),
                                         .value = gb_of_bridge(fields[i].value)};
    }
    return ours;
}

static struct gbw_field *to_bridge_fields(const struct gb_http_field *fields, size_t len,
                                          struct gb_error **err) {
    struct gbw_field *theirs = gb_calloc(len ? len : 1, sizeof *theirs, err);
    for (size_t i = 0; theirs && i < len; i++) {
        theirs[i] = (struct gbw_field){.key = gb_to_bridge(fields[i].name),
                                       .value = gb_to_bridge(fields[i].value)};
    }
    return theirs;
}

/* ---- the request ---- */

bool gb_call_http_request(struct gb_call *c, struct gbw_http_request *ret, struct gb_error **err) {
    const struct gb_http_request *r = c->spec.http;
    uint64_t bytes = r->path_with_query.len + r->authority.len + r->method.len;
    for (size_t i = 0; i < r->fields_len; i++) {
        bytes += r->fields[i].name.len + r->fields[i].value.len + FIELD_BYTES;
    }
    if (!gb_charge(c->account, GB_CHARGE_OUTPUT, bytes, err)) {
        return false;
    }
    c->output_charged += bytes; /* given back with the call */
    struct gbw_field *fields = to_bridge_fields(r->fields, r->fields_len, err);
    *ret = (struct gbw_http_request){
        .method = gb_to_bridge(r->method),
        .scheme = gb_to_bridge(r->scheme),
        .authority = gb_to_bridge(r->authority),
        .path_with_query = gb_to_bridge(r->path_with_query),
        .fields = fields,
        .fields_len = r->fields_len,
    };
    return fields != NULL;
}

enum gbw_io gb_host_http_request_body(void *user, uint8_t *to, size_t cap, size_t *ret_len) {
    struct gb_call *c = user;
    return (enum gbw_io)c->io.request_body(c->io.user, to, cap, ret_len);
}

void gb_host_http_request_trailers(void *user, const struct gbw_field **ret_fields,
                                   size_t *ret_len) {
    struct gb_call *c = user;
    const struct gb_http_field *fields = NULL;
    size_t len = 0;
    struct gb_error *error = NULL;
    c->io.request_trailers(c->io.user, &fields, &len);
    gb_free(c->http_trailers);
    c->http_trailers = to_bridge_fields(fields, len, &error);
    if (!c->http_trailers) {
        gb_call_end_with(c, error);
        len = 0;
    }
    *ret_fields = c->http_trailers;
    *ret_len = len;
}

/* ---- the response ---- */

enum gbw_io gb_host_http_response_head(void *user, uint32_t status,
                                       const struct gbw_field *fields, size_t fields_len) {
    struct gb_call *c = user;
    struct gb_error *error = NULL;
    struct gb_http_field *ours = of_bridge_fields(fields, fields_len, &error);
    if (!ours) {
        gb_call_end_with(c, error);
        return GBW_IO_ERROR;
    }
    enum gb_io io = c->io.response_head(c->io.user, status, ours, fields_len);
    gb_free(ours);
    return (enum gbw_io)io;
}

enum gbw_io gb_host_http_response_body(void *user, struct gbw_span bytes, size_t *ret_taken) {
    struct gb_call *c = user;
    return (enum gbw_io)c->io.response_body(c->io.user, gb_of_bridge(bytes), ret_taken);
}

void gb_host_http_response_end(void *user, const struct gbw_field *trailers, size_t trailers_len) {
    struct gb_call *c = user;
    struct gb_error *error = NULL;
    struct gb_http_field *ours = of_bridge_fields(trailers, trailers_len, &error);
    if (!ours) {
        gb_call_end_with(c, error);
        return;
    }
    c->io.response_end(c->io.user, ours, trailers_len);
    gb_free(ours);
}

/* ---- what the bridge keeps for the guest ---- */

bool gb_host_http_charge(void *user, uint64_t bytes) {
    struct gb_call *c = user;
    struct gb_error *error = NULL;
    if (!gb_charge(c->account, GB_CHARGE_OUTPUT, bytes, &error)) {
        gb_call_end_with(c, error);
        return false;
    }
    c->output_charged += bytes;
    return true;
}

void gb_host_http_uncharge(void *user, uint64_t bytes) {
    struct gb_call *c = user;
    bytes = GB_MIN(bytes, c->output_charged);
    c->output_charged -= bytes;
    gb_uncharge(c->account, GB_CHARGE_OUTPUT, bytes);
}

/* No egress is configured: there is no setting yet that could allow an address. */
enum gbw_egress gb_host_http_egress(void *user, const struct gbw_http_request *request) {
    (void)user;
    (void)request;
    return GBW_EGRESS_DENIED;
}
