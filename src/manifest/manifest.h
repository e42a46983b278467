/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of a server, whatever file they came from: a glovebox.toml, a Spin spin.toml (v2) or
 * a bare program. settings.def holds every key with its default and range; what is not there is an
 * error. Each value knows where it came from (`glovebox config`).
 *
 * Threads: immutable once loaded, so any; counted by an atomic. Ownership: one arena; every pointer
 * in here lives as long as the manifest. Limits: GB_MANIFEST_*_MAX below. Errors:
 * manifest-invalid and unsupported as FILE:LINE:COLUMN: message; not-found for the file itself.
 */
#ifndef GB_MANIFEST_MANIFEST_H
#define GB_MANIFEST_MANIFEST_H

#include <stdint.h>

#include "base/error.h"
#include "base/span.h"

#define GB_MANIFEST_BYTES_MAX (1u << 20)  /* the file */
#define GB_MANIFEST_VALUES_MAX 65536u     /* values in it, tables and list items included */
#define GB_MANIFEST_TEXT_BYTES_MAX 65536u /* one text */
#define GB_MANIFEST_MODELS_MAX 1024u
#define GB_MANIFEST_TENANTS_MAX 4096u
#define GB_MANIFEST_COMPONENTS_MAX 16384u
#define GB_MANIFEST_ROUTES_MAX 16384u
#define GB_MANIFEST_LIST_MAX 256u         /* items of one list, entries of one table of texts */
#define GB_MANIFEST_NAME_MAX 64u          /* bytes of the name of a model, tenant, component */
#define GB_MANIFEST_SEGMENTS_MAX 32u      /* of a route's path, and the parameters among them: */
#define GB_MANIFEST_PARAMS_MAX 8u
#define GB_MANIFEST_FINDINGS_MAX 20u

/* ---- where a value came from ---- */

enum gb_origin_kind {
    GB_ORIGIN_DEFAULT,
    GB_ORIGIN_FILE, /* of the manifest: line and column */
    GB_ORIGIN_FLAG, /* from: "--listen" */
    GB_ORIGIN_ENV,  /* from: the variable; line and column of what named it, if any */
    GB_ORIGIN_READ  /* from: the path of a secret's file; line and column of what named it */
};
struct gb_origin {
    enum gb_origin_kind kind;
    uint32_t line, column; /* from 1; 0: not from the file */
    const char *from;
};

struct gb_texts {
    const char *const *items;
    size_t len;
};

/* ---- settings: the fields that settings.def fills ---- */

struct gb_cidr {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t prefix;      /* 0 to 128; of IPv4 96 and more */
};

struct gb_manifest_http { /* [host.http]; durations are absolute deadlines but for keep_alive_us */
    uint64_t connections, connections_per_address, connections_per_tenant;
    uint64_t header_bytes, headers, url_bytes, body_bytes;
    uint64_t handshake_us, header_us, body_us, response_us, request_us, keep_alive_us;
    uint64_t body_rate_bytes; /* per second, at least; 0: off */
};

struct gb_manifest_host {
    const char *listen; /* "127.0.0.1:8080", "[::1]:0" */
    const char *admin;
    uint64_t loops;     /* 0: one for each core */
    uint64_t lanes;     /* 0: one for each core */
    uint64_t calls;     /* guests at once, of all tenants */
    uint64_t memory_bytes; /* the ledger's top account */
    const char *cache_dir; /* NULL: the default. Paths are joined with the manifest's folder */
    const char *state_dir; /* NULL: the default; key-value stores */
    const char *models_dir; /* NULL: only [model.NAME] */
    uint32_t log;       /* enum gb_log_level */
    uint32_t jail;      /* 0 strict, 1 best-effort */
    const char *otlp_endpoint; /* NULL: none */
    const char *tls_cert, *tls_key; /* both or none */
    struct gb_texts trusted_proxies; /* as written */
    const struct gb_cidr *trusted_proxy_ranges; /* the same, parsed */
    const char *tenant_header; /* lower case; NULL: none */
    uint64_t drain_accept_us;  /* SIGTERM: accepts for so long */
    uint64_t drain_us;         /* and finishes in-flight calls for so long after that */
    struct gb_manifest_http http;
    const struct gb_origin *origins; /* by row of its table in settings.def */
};

enum gb_manifest_limit { /* bits of gb_manifest_limits.given, in the order of settings.def */
    GB_MANIFEST_LIMIT_MEMORY, GB_MANIFEST_LIMIT_TABLES, GB_MANIFEST_LIMIT_INSTANCES,
    GB_MANIFEST_LIMIT_HANDLES, GB_MANIFEST_LIMIT_FUEL, GB_MANIFEST_LIMIT_DEADLINE,
    GB_MANIFEST_LIMIT_STACK, GB_MANIFEST_LIMIT_OUTPUT, GB_MANIFEST_LIMIT_ON_OVERFLOW,
    GB_MANIFEST_LIMIT_HOSTCALL, GB_MANIFEST_LIMIT_RANDOM, GB_MANIFEST_LIMIT_TEXT,
    GB_MANIFEST_LIMIT_PROGRAM, GB_MANIFEST_LIMIT_CONCURRENCY, GB_MANIFEST_LIMIT_QUEUE,
    GB_MANIFEST_LIMITS
};
struct gb_manifest_limits {
    uint64_t memory_bytes, table_elements, instances, handles;
    uint64_t fuel; /* 0: off */
    uint64_t deadline_us;
    uint64_t stack_bytes; /* [limits] only: of every call */
    uint64_t output_bytes;
    uint32_t on_overflow; /* 0 fail, 1 drop */
    uint64_t hostcall_bytes; /* 0: as memory_bytes */
    uint64_t random_bytes, text_bytes, program_bytes;
    uint64_t concurrency; /* calls at once: of a tenant, of a component; 0: as host.calls */
    uint64_t queue;       /* calls that wait for that */
    uint32_t given;       /* bit per enum gb_manifest_limit: written in this very table */
    const struct gb_origin *origins;
};

struct gb_manifest_budgets {
    uint64_t memory_bytes; /* the tenant's ledger account */
    uint64_t requests_per_second; /* 0: off, as the others */
    uint64_t burst;               /* requests above that rate; 0: as requests_per_second */
    uint64_t inference_ms_per_minute, tokens_per_minute, egress_bytes_per_minute, kv_bytes;
    const struct gb_origin *origins;
};

struct gb_manifest_model {
    const char *name;
    struct gb_origin at;
    const char *source;
    const char *digest;    /* "sha256:…"; NULL: any */
    uint32_t placement;    /* 0: the default, 1 worker, 2 inline */
    uint64_t threads;      /* 0: the default */
    uint64_t deadline_us;  /* 0: none but the call's */
    bool warm_up;
    uint64_t max_batch;    /* 1 */
    const char *layout;    /* free text; NULL */
    uint64_t context, parallel, kv_budget_bytes; /* of language models; 0: the default */
    const struct gb_origin *origins;
};

struct gb_manifest_tenant {
    const char *name;
    struct gb_origin at;
    const uint8_t (*keys)[32]; /* SHA-256 of each API key */
    size_t keys_len;
    struct gb_texts key_sha256; /* the same as written */
    struct gb_texts hosts;     /* lower case, without port; "*.example.org" */
    const char *proxy_name;    /* the value of host.tenant_header; NULL: none */
    uint64_t weight;
    struct gb_manifest_limits limits;
    struct gb_manifest_budgets budgets;
    const struct gb_origin *origins;
};

/* A text with a name: environment, variables, headers. value is NULL only where a secret was left
 * unread (gb_manifest_options.secrets_optional). A secret's value is never printed or logged. */
struct gb_manifest_pair {
    const char *name;
    const char *value;
    bool secret;
    struct gb_origin origin;
};
struct gb_manifest_pairs {
    const struct gb_manifest_pair *items;
    size_t len;
};

struct gb_manifest_dir {
    const char *host_path, *guest_path;
    bool writable;
    struct gb_origin origin;
};

/* A model that a component may open; digest: the one it must have, or NULL. */
struct gb_manifest_model_grant {
    const char *name, *digest;
    const struct gb_manifest_model *model; /* NULL: of host.models_dir */
    struct gb_origin origin;
};

struct gb_manifest_component {
    const char *name;
    struct gb_origin at;
    const char *source;
    const char *digest; /* "sha256:…"; NULL: any */
    struct gb_texts model_names; /* as written */
    const struct gb_manifest_model_grant *models;
    size_t models_len;
    struct gb_texts grants;
    /* What the lists above and below come to. http and kv are also granted by a list of hosts or
     * stores, and to every component of a Spin manifest, whose SDKs import them always. */
    bool nn_load, http, kv, sockets, memory64;
    struct gb_manifest_pairs env;
    const struct gb_manifest_dir *dirs;
    size_t dirs_len;
    struct gb_texts allowed_outbound_hosts; /* "https://example.org:443", "self"; templates done */
    struct gb_texts key_value_stores;       /* labels */
    struct gb_manifest_pairs variables;     /* wasi:config/store, fermyon:spin/variables */
    struct gb_manifest_limits limits;
    const struct gb_origin *origins;
};

enum gb_route_kind {
    GB_ROUTE_AUTO,  /* by what the component exports: http, else agent */
    GB_ROUTE_HTTP,  /* wasi:http/incoming-handler */
    GB_ROUTE_AGENT, /* run: func(string) -> result<string, string> */
    GB_ROUTE_CALL,  /* gb_manifest_route.interface */
    GB_ROUTE_STATIC
};
enum gb_segment_kind {
    GB_SEGMENT_TEXT,  /* "users" */
    GB_SEGMENT_PARAM, /* ":id": text is "id"; one segment, not empty */
    GB_SEGMENT_REST   /* "...": last; any number of segments, also none */
};
struct gb_route_segment {
    enum gb_segment_kind kind;
    const char *text; /* NULL for REST */
};
struct gb_manifest_static {
    uint32_t status; /* 100 to 599, without 1xx that need a switch */
    struct gb_manifest_pairs headers;
    const char *body;
    size_t body_len;
};
struct gb_manifest_route {
    const char *path; /* "/users/:id/...", as written */
    const struct gb_route_segment *segments; /* of "/": none */
    size_t segments_len;
    bool slash_last;  /* "/users/": a path of its own */
    struct gb_texts methods; /* of GET HEAD POST PUT DELETE PATCH OPTIONS; none: all */
    enum gb_route_kind kind;
    const struct gb_manifest_component *component; /* NULL for GB_ROUTE_STATIC */
    const char *interface; /* GB_ROUTE_CALL: "pkg:name/iface", with or without version */
    struct gb_manifest_static answer; /* GB_ROUTE_STATIC */
    const struct gb_manifest_tenant *tenant; /* NULL: every tenant */
    struct gb_origin at;
    /* As written; the fields above follow from them. */
    const char *component_name, *call, *tenant_name;
    const struct gb_origin *origins;
};

/* ---- the manifest ---- */

enum gb_manifest_kind { GB_MANIFEST_GLOVEBOX, GB_MANIFEST_SPIN, GB_MANIFEST_PROGRAM };
struct gb_manifest {
    enum gb_manifest_kind kind;
    const char *file;   /* as given: for messages */
    const char *folder; /* what its paths are taken from; "" for the current one */
    const char *name;   /* Spin's application.name; else NULL */
    struct gb_manifest_host host;
    struct gb_manifest_limits limits; /* [limits]: all fields set */
    const struct gb_manifest_model *models;
    size_t models_len;
    /* Never empty: where none is written there is "default". A tenant "default" without keys, hosts
     * and proxy_name takes every request that nobody else claims: then tenants_open is true. */
    const struct gb_manifest_tenant *tenants;
    size_t tenants_len;
    bool tenants_open;
    const struct gb_manifest_component *components;
    size_t components_len;
    const struct gb_manifest_route *routes; /* in the order of the file */
    size_t routes_len;
};

/* What was found in a manifest, in the order of the file: errors, and warnings (code unsupported or
 * manifest-invalid) about what is accepted and should be written differently. */
struct gb_manifest_finding {
    struct gb_error *error;
    bool warning;
};
struct gb_manifest_findings {
    struct gb_manifest_finding items[GB_MANIFEST_FINDINGS_MAX];
    size_t len;
    size_t errors_len; /* of them, warnings not counted */
    size_t left_out;   /* did not fit */
};
void gb_manifest_findings_fini(struct gb_manifest_findings *f);

/* A setting given elsewhere, which wins over the file: {"host.listen", "0.0.0.0:80", "--listen"}.
 * value as it would stand in quotes; keys of [host] and [limits]. */
struct gb_manifest_override {
    const char *key, *value, *flag;
};
struct gb_manifest_options {
    const struct gb_manifest_override *overrides;
    size_t overrides_len;
    bool secrets_optional; /* one that is not at hand is a warning: for checking */
};

/* By content: a glovebox.toml, a spin.toml or a program. options may be NULL; so may ret_findings,
 * which is set in either case and owned by the caller. *err is the first error. */
struct gb_manifest *gb_manifest_load(const char *path, const struct gb_manifest_options *options,
                                     struct gb_manifest_findings *ret_findings,
                                     struct gb_error **err);
/* The same from a text; path is for messages and for what its paths are taken from. */
struct gb_manifest *gb_manifest_parse(struct gb_span text, const char *path,
                                      const struct gb_manifest_options *options,
                                      struct gb_manifest_findings *ret_findings,
                                      struct gb_error **err);
/* One component "main", its program at path, for every request. */
struct gb_manifest *gb_manifest_of_program(const char *path,
                                           const struct gb_manifest_options *options,
                                           struct gb_error **err);
struct gb_manifest *gb_manifest_ref(const struct gb_manifest *m);
void gb_manifest_unref(const struct gb_manifest *m);

const struct gb_manifest_component *gb_manifest_component_find(const struct gb_manifest *m,
                                                               const char *name);
const struct gb_manifest_tenant *gb_manifest_tenant_find(const struct gb_manifest *m,
                                                         const char *name);

/* The limits of a call: the component's and the tenant's where they are given (the smaller where
 * both are), else those of [limits]. tenant may be NULL. */
struct gb_manifest_limits gb_manifest_limits_of(const struct gb_manifest *m,
                                                const struct gb_manifest_component *component,
                                                const struct gb_manifest_tenant *tenant);
/* Which route takes a request: of those whose path, method and tenant fit, the one with the most
 * exact path (from the left, a text before a parameter before "..."). "/x/..." takes "/x" and
 * "/x/", too; else a last slash makes another path. GET includes HEAD.
 * Whether some request fits both alike: no manifest has two such routes. */
bool gb_manifest_routes_conflict(const struct gb_manifest_route *a,
                                 const struct gb_manifest_route *b);

/* Every value with its origin, in the order of settings.def. value is as it would be written;
 * secrets are "(secret)". Returning false ends it. */
struct gb_manifest_value {
    const char *key;   /* "tenant.acme.limits.memory" */
    const char *value; /* TOML: "\"64MiB\"", "[\"a\", \"b\"]"; "" where nothing is set */
    const char *doc;   /* may be NULL */
    const struct gb_origin *origin;
};
typedef bool gb_manifest_value_fn(void *user, const struct gb_manifest_value *value,
                                  struct gb_error **err);
bool gb_manifest_each_value(const struct gb_manifest *m, gb_manifest_value_fn *each, void *user,
                            struct gb_error **err);

#endif
