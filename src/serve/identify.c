/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a request is from. In this order: an API key, by its hash; a header of a trusted proxy; the
 * host that it is for. A tenant with keys is never known by its host alone. Where a tenant
 * "default" has none of these, it takes what nobody else claims.
 */
#include <openssl/evp.h>
#include <string.h>

#include "serve/serve_internal.h"

static bool has_key(const struct gb_manifest_tenant *t, const uint8_t hash[32]) {
    for (size_t i = 0; i < t->keys_len; i++) {
        if (memcmp(t->keys[i], hash, 32) == 0) {
            return true;
        }
    }
    return false;
}

/* "Authorization: Bearer KEY" or "X-Api-Key: KEY". */
static bool key_of(const struct gb_http_head *head, struct gb_span *ret_key) {
    const struct gb_http_field *field = gb_http_find(head, "x-api-key");
    if (field) {
        *ret_key = field->value;
        return true;
    }
    field = gb_http_find(head, "authorization");
    if (!field || field->value.len <= 7 ||
        strncasecmp((const char *)field->value.ptr, "bearer ", 7) != 0) {
        return false;
    }
    *ret_key = gb_span_make(field->value.ptr + 7, field->value.len - 7);
    return true;
}

static bool host_matches(const char *pattern, struct gb_span host) {
    size_t len = strlen(pattern);
    if (pattern[0] != '*') {
        return gb_span_is(host, pattern);
    }
    return host.len >= len && memcmp(pattern + 1, host.ptr + host.len - (len - 1), len - 1) == 0;
}

static bool has_host(const struct gb_manifest_tenant *t, struct gb_span host) {
    for (size_t i = 0; i < t->hosts.len; i++) {
        if (host_matches(t->hosts.items[i], host)) {
            return true;
        }
    }
    return false;
}

/* The authority without its port. */
static struct gb_span host_of(const struct gb_http_head *head) {
    struct gb_span a = head->authority;
    size_t colon = a.len;
    while (colon > 0 && a.ptr[colon - 1] >= '0' && a.ptr[colon - 1] <= '9') {
        colon--;
    }
    if (colon > 0 && a.ptr[colon - 1] == ':') {
        a.len = colon - 1;
    }
    return a;
}

static bool in_range(const struct gb_cidr *range, const uint8_t address[16]) {
    size_t whole = range->prefix / 8;
    unsigned bits = range->prefix % 8;
    if (memcmp(range->address, address, whole) != 0) {
        return false;
    }
    uint8_t mask = (uint8_t)(0xff00u >> bits);
    return bits == 0 || ((range->address[whole] ^ address[whole]) & mask) == 0;
}

static bool is_trusted(const struct gb_manifest_host *host, const struct sockaddr *peer) {
    uint8_t address[16];
    gb_address_bytes(peer, address);
    for (size_t i = 0; i < host->trusted_proxies.len; i++) {
        if (in_range(&host->trusted_proxy_ranges[i], address)) {
            return true;
        }
    }
    return false;
}

static struct gb_app_tenant *by_key(const struct gb_app *a, const struct gb_http_head *head,
                                    struct gb_span key) {
    uint8_t hash[32];
    if (EVP_Digest(key.ptr, key.len, hash, NULL, EVP_sha256(), NULL) != 1) {
        return NULL;
    }
    for (size_t i = 0; i < a->manifest->tenants_len; i++) {
        const struct gb_manifest_tenant *t = a->tenants[i].m;
        if (has_key(t, hash) && (t->hosts.len == 0 || has_host(t, host_of(head)))) {
            return &a->tenants[i];
        }
    }
    return NULL;
}

static struct gb_app_tenant *by_proxy(const struct gb_app *a, struct gb_span name) {
    for (size_t i = 0; i < a->manifest->tenants_len; i++) {
        const char *proxy_name = a->tenants[i].m->proxy_name;
        if (proxy_name && gb_span_is(name, proxy_name)) {
            return &a->tenants[i];
        }
    }
    return NULL;
}

static struct gb_app_tenant *by_host(const struct gb_app *a, struct gb_span host) {
    for (size_t i = 0; i < a->manifest->tenants_len; i++) {
        const struct gb_manifest_tenant *t = a->tenants[i].m;
        if (t->keys_len == 0 && has_host(t, host)) {
            return &a->tenants[i];
        }
    }
    return NULL;
}

static size_t count_fields(const struct gb_http_head *head, const char *name,
                           const struct gb_http_field **ret_first) {
    size_t n = 0;
    for (size_t i = 0; i < head->fields_len; i++) {
        if (gb_http_name_is(head->fields[i].name, name)) {
            *ret_first = n == 0 ? &head->fields[i] : *ret_first;
            n++;
        }
    }
    return n;
}

static struct gb_app_tenant *refuse_twice(const char *name, struct gb_error **err) {
    gb_fail(err, GB_UNAUTHORIZED, "the request names its tenant twice");
    gb_hint(err, "The proxy must replace %s, not add to what the client sent.", name);
    return NULL;
}

struct gb_app_tenant *gb_app_identify(const struct gb_app *a, const struct gb_http_head *head,
                                      const struct sockaddr *peer, struct gb_error **err) {
    const struct gb_manifest_host *host = &a->manifest->host;
    struct gb_app_tenant *found = NULL;
    struct gb_span key;
    const struct gb_http_field *named = NULL;
    size_t named_times = host->tenant_header ? count_fields(head, host->tenant_header, &named) : 0;
    if (key_of(head, &key)) {
        found = by_key(a, head, key);
    } else if (named && is_trusted(host, peer)) {
        if (named_times > 1) { /* one is the client's: a proxy that appends must not be believed */
            return refuse_twice(host->tenant_header, err);
        }
        found = by_proxy(a, named->value);
    } else {
        found = by_host(a, host_of(head));
    }
    if (!found && a->manifest->tenants_open) {
        const struct gb_manifest_tenant *open = gb_manifest_tenant_find(a->manifest, "default");
        found = open ? &a->tenants[open - a->manifest->tenants] : NULL;
    }
    if (!found) {
        gb_fail(err, GB_UNAUTHORIZED, "the request names no tenant that is known here");
        gb_hint(err, "Send the tenant's key: Authorization: Bearer KEY.");
    }
    return found;
}
