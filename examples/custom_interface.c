/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interface of the embedder's own: custom_interface PROGRAM [ARGUMENT...]. The program may
 * import acme:metrics/metrics@1.0.0, which is defined here in C: counter, gauge, and read, whose
 * answer is a record. Each argument is one call; the numbers are kept across calls, since they are
 * the host's.
 *
 * "--no-grant" as the first argument shows what a guest without the grant gets; an argument of more
 * than 1,000 bytes, which the sample guest tries to measure, what a host function that fails does.
 */
#include <glovebox/glovebox.h>
#include <glovebox/value.h>
#include <stdio.h>
#include <string.h>

#define METRICS "acme:metrics/metrics@1.0.0"
#define NAME_MAX_BYTES 64
#define METRICS_MAX 100
#define GAUGE_MAX 1000.0

struct metric {
    char name[NAME_MAX_BYTES];
    uint64_t total;
    double last;
    bool measured;
};
struct metrics {
    struct metric items[METRICS_MAX];
    size_t len;
};

/* Names come from the guest: bounded in length and number. */
static struct metric *find(struct metrics *m, struct gb_text name, bool add,
                           struct gb_error **err) {
    for (size_t i = 0; i < m->len; i++) {
        struct metric *known = &m->items[i];
        if (strlen(known->name) == name.len && memcmp(known->name, name.ptr, name.len) == 0) {
            return known;
        }
    }
    if (!add) {
        return NULL;
    }
    if (name.len == 0 || name.len >= NAME_MAX_BYTES || m->len == METRICS_MAX) {
        (void)gb_error_make(err, "invalid-argument", "no room for a metric of that name");
        return NULL;
    }
    struct metric *made = &m->items[m->len++];
    memset(made, 0, sizeof *made);
    memcpy(made->name, name.ptr, name.len);
    return made;
}

static bool counter(void *user, struct gb_host_call *call, const struct gb_value *args, size_t len,
                    struct gb_value *ret, struct gb_error **err) {
    (void)call, (void)len, (void)ret;
    struct metric *m = find(user, args[0].of.text, true, err);
    if (m) {
        m->total += args[1].of.natural;
    }
    return m != NULL;
}

static bool gauge(void *user, struct gb_host_call *call, const struct gb_value *args, size_t len,
                  struct gb_value *ret, struct gb_error **err) {
    (void)call, (void)len, (void)ret;
    if (!(args[1].of.f64 <= GAUGE_MAX)) {
        return gb_error_make(err, "invalid-argument", "a gauge goes up to 1000");
    }
    struct metric *m = find(user, args[0].of.text, true, err);
    if (m) {
        m->last = args[1].of.f64;
        m->measured = true;
    }
    return m != NULL;
}

/* ok({ name, total, last: option<f64> }) or err("…"): the parts lie in memory of the call's. */
static bool read_metric(void *user, struct gb_host_call *call, const struct gb_value *args,
                        size_t len, struct gb_value *ret, struct gb_error **err) {
    (void)len;
    struct gb_value *v = gb_host_call_alloc(call, 5 * sizeof *v, err);
    if (!v) {
        return false;
    }
    const struct metric *m = find(user, args[0].of.text, false, NULL);
    struct gb_value *record = &v[0], *fields = &v[1], *last = &v[4];
    *ret = (struct gb_value){.kind = GB_VALUE_RESULT, .which = m ? 0 : 1};
    ret->of.list.items = record;
    ret->of.list.len = 1;
    if (!m) {
        *record = (struct gb_value){.kind = GB_VALUE_STRING, .of.text = {"no such metric", 14}};
        return true;
    }
    *record = (struct gb_value){.kind = GB_VALUE_RECORD, .of.list = {fields, 3}};
    fields[0] = (struct gb_value){.kind = GB_VALUE_STRING, .of.text = {m->name, strlen(m->name)}};
    fields[1] = (struct gb_value){.kind = GB_VALUE_U64, .of.natural = m->total};
    fields[2] = (struct gb_value){.kind = GB_VALUE_OPTION, .which = m->measured ? 1 : 0};
    *last = (struct gb_value){.kind = GB_VALUE_F64, .of.f64 = m->last};
    fields[2].of.list.items = last;
    fields[2].of.list.len = m->measured ? 1 : 0;
    return true;
}

static bool define(struct gb_host *host, struct metrics *m, struct gb_error **err) {
    return gb_host_define(host, METRICS, "counter", "func(name: string, value: u64)", counter, m,
                          err) &&
           gb_host_define(host, METRICS, "gauge", "func(name: string, value: f64)", gauge, m,
                          err) &&
           gb_host_define(host, METRICS, "read",
                          "func(name: string) -> result<"
                          "record { name: string, total: u64, last: option<f64> }, string>",
                          read_metric, m, err);
}

static void done(void *user, struct gb_result *result) {
    (void)user;
    const struct gb_error *e = gb_result_error(result);
    printf("%s%s\n", e ? "error: " : "", e ? gb_error_message(e) : gb_result_text(result, NULL));
    const struct gb_error *cause = e ? gb_error_cause(e) : NULL;
    if (cause) {
        printf("cause: %s: %s\n", gb_error_code(cause), gb_error_message(cause));
    }
    gb_result_free(result);
}

static bool run(struct gb_guest *guest, struct gb_host *host, const char *argument,
                struct gb_error **err) {
    struct gb_call_options call = {.size = sizeof call,
                                   .argument = argument,
                                   .argument_bytes = strlen(argument),
                                   .done = done};
    if (!gb_guest_call(guest, &call, err)) {
        return false;
    }
    while (gb_host_step(host, -1) > 0) {
    }
    return true;
}

int main(int argc, char **argv) {
    static struct metrics metrics;
    struct gb_error *e = NULL;
    bool grant = !(argc > 2 && strcmp(argv[2], "--no-grant") == 0);
    struct gb_host *host = gb_host_new(NULL, &e);
    struct gb_guest *guest = NULL;
    bool ok = host && define(host, &metrics, &e);
    if (ok) {
        const char *granted[] = {METRICS};
        struct gb_grant_options grants;
        gb_grant_options_default(&grants);
        grants.interfaces = granted;
        grants.interfaces_len = grant ? 1 : 0;
        guest = gb_guest_load_file(host, argc > 1 ? argv[1] : "", &grants, NULL, &e);
        ok = guest != NULL;
    }
    for (int i = 2; ok && i < argc; i++) {
        ok = run(guest, host, argv[i], &e);
    }
    for (size_t i = 0; ok && i < metrics.len; i++) {
        const struct metric *m = &metrics.items[i];
        printf("metric %s: total %llu, last %g\n", m->name, (unsigned long long)m->total, m->last);
    }
    if (!ok) {
        fprintf(stderr, "error: %s: %s\n", gb_error_code(e), gb_error_message(e));
    }
    int status = gb_error_exit_status(e);
    gb_error_free(e);
    gb_guest_free(guest);
    gb_host_free(host);
    return status;
}
