/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedder's interfaces: their list, what is said about imports of them, and the way from the
 * bridge into one of their functions. A function that fails traps the guest, with the embedder's
 * error as cause.
 */
#include "sandbox/custom.h"

#include "sandbox/sandbox_internal.h"

/* ---- the list ---- */

static struct gb_span before_version(const char *interface) {
    return gb_span_make(interface, strcspn(interface, "@"));
}

/* "ns:pkg/iface", with or without "@version"; not one of ours. */
static bool check_interface(const char *name, struct gb_error **err) {
    const char *colon = strchr(name, ':');
    const char *slash = colon ? strchr(colon, '/') : NULL;
    if (!slash || colon == name || slash == colon + 1 || !slash[1] || strlen(name) > 200) {
        gb_fail(err, GB_INVALID_ARGUMENT, "\"%.200s\" is not the name of an interface", name);
        return gb_hint(err, "Names are like acme:metrics/metrics@1.0.0.");
    }
    if (strncmp(name, "wasi:", 5) == 0 || strncmp(name, "glovebox:", 9) == 0) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "\"%.200s\" is an interface of the host's own",
                       name);
    }
    return true;
}

bool gb_custom_add(struct gb_custom **list, const char *interface, const char *name,
                   const char *type, gb_host_fn *fn, void *user, struct gb_error **err) {
    if (!interface || !name || !name[0] || !type || !fn) {
        return gb_fail(err, GB_INVALID_ARGUMENT,
                       "a host function needs an interface, a name, a type and a function");
    }
    if (!check_interface(interface, err)) {
        return false;
    }
    for (const struct gb_custom *c = *list; c; c = c->next) {
        if (strcmp(c->interface, interface) == 0 && strcmp(c->name, name) == 0) {
            return gb_fail(err, GB_INVALID_ARGUMENT, "\"%s\" of \"%s\" is defined already", name,
                           interface);
        }
    }
    struct gb_custom *c = gb_calloc(1, sizeof *c, err);
    if (!c) {
        return false;
    }
    *c = (struct gb_custom){.fn = fn, .user = user};
    c->interface = gb_strdup(interface, err);
    c->name = c->interface ? gb_strdup(name, err) : NULL;
    c->type = c->name ? gb_custom_type(type, err) : NULL;
    if (!c->type) {
        gb_custom_free(c);
        return false;
    }
    c->next = *list;
    *list = c;
    return true;
}

void gb_custom_free(struct gb_custom *list) {
    while (list) {
        struct gb_custom *next = list->next;
        gb_free(list->interface);
        gb_free(list->name);
        gb_free(list->type);
        gb_free(list);
        list = next;
    }
}

/* ---- imports ---- */

static bool granted(const struct gb_grants *g, const char *interface) {
    for (size_t i = 0; i < g->interfaces_len; i++) {
        struct gb_span grant = gb_span_of(g->interfaces[i]);
        if (gb_span_is(grant, interface) || gb_span_eq(grant, before_version(interface))) {
            return true;
        }
    }
    return false;
}

static void judge_member(const struct gbw_item *item, const struct gb_grants *g,
                         struct gb_import_verdict *v) {
    v->state = item->kind == GBW_ITEM_OTHER ? GB_IMPORT_IGNORED : GB_IMPORT_TYPE;
    for (const struct gb_custom *c = g->customs; c; c = c->next) {
        if (!gb_span_is(gb_of_bridge(item->interface), c->interface) ||
            !gb_span_is(gb_of_bridge(item->name), c->name)) {
            continue;
        }
        v->have = c->type;
        if (gb_span_is(gb_of_bridge(item->type), c->type)) {
            v->state = GB_IMPORT_IGNORED;
        }
    }
}

bool gb_custom_judge(const struct gbw_item *item, const struct gb_grants *g,
                     struct gb_import_verdict *v) {
    const struct gb_custom *exact = NULL;
    const struct gb_custom *other = NULL;
    for (const struct gb_custom *c = g->customs; c; c = c->next) {
        if (gb_span_is(gb_of_bridge(item->interface), c->interface)) {
            exact = c;
        } else if (gb_span_eq(v->name, before_version(c->interface))) {
            other = c;
        }
    }
    if (!exact && !other) {
        return false;
    }
    if (item->name.len > 0) {
        v->state = GB_IMPORT_IGNORED;
        if (exact) {
            judge_member(item, g, v);
        }
        return true;
    }
    const struct gb_custom *c = exact ? exact : other;
    v->have = c->interface;
    v->grant = c->interface;
    v->state = !exact                      ? GB_IMPORT_VERSION
               : !granted(g, c->interface) ? GB_IMPORT_UNGRANTED
                                           : GB_IMPORT_HAVE;
    v->advice = exact ? "Whoever runs the host grants it by its name."
                      : "Build the program against that version.";
    return true;
}

/* ---- calls ---- */

struct gb_host_call {
    struct gb_host_call *next; /* memory behind it */
    struct gb_call *call;
};

void *gb_host_call_alloc(struct gb_host_call *call, size_t bytes, struct gb_error **err) {
    size_t whole;
    if (!gb_add_size(bytes, sizeof(struct gb_host_call), &whole)) {
        gb_fail(err, GB_INVALID_ARGUMENT, "too many bytes");
        return NULL;
    }
    struct gb_host_call *block = gb_calloc(1, whole, err);
    if (!block) {
        return NULL;
    }
    block->next = call->next;
    call->next = block;
    return block + 1;
}

void gb_custom_forget(struct gb_call *c) {
    while (c->custom_memory) {
        struct gb_host_call *next = c->custom_memory->next;
        gb_free(c->custom_memory);
        c->custom_memory = next;
    }
}

static bool enter(void *user, void *data, const struct gb_value *args, size_t args_len,
                  struct gb_value *ret) {
    struct gb_call *c = user;
    const struct gb_custom *custom = data;
    gb_custom_forget(c); /* of the entry before: its result has been taken */
    struct gb_host_call call = {.call = c};
    struct gb_error *error = NULL;
    bool ok = custom->fn(custom->user, &call, args, args_len, ret, &error);
    c->custom_memory = call.next;
    if (ok) {
        gb_error_free(error);
        return true;
    }
    struct gb_error *reason = NULL;
    gb_fail(&reason, GB_GUEST_TRAP, "the host's function \"%s\" of \"%s\" failed", custom->name,
            custom->interface);
    gb_error_set_cause(&reason, error);
    gb_call_end_with(c, reason);
    return false;
}

/* Of all that are granted: the bridge links those that the program imports. */
struct gbw_custom *gb_custom_bridge(const struct gb_grants *g, size_t *ret_len,
                                    struct gb_error **err) {
    size_t len = 0;
    for (const struct gb_custom *c = g->customs; c; c = c->next) {
        len++;
    }
    struct gbw_custom *all = gb_calloc(len + 1, sizeof *all, err);
    if (!all) {
        return NULL;
    }
    size_t n = 0;
    for (struct gb_custom *c = g->customs; c; c = c->next) {
        if (granted(g, c->interface)) {
            all[n++] = (struct gbw_custom){.interface = gb_to_bridge(gb_span_of(c->interface)),
                                           .name = gb_to_bridge(gb_span_of(c->name)),
                                           .call = enter,
                                           .data = c};
        }
    }
    *ret_len = n;
    return all;
}
