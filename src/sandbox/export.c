/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the exported function that a name means: `greet`, at the world's root or in the one
 * interface that has it; `pkg:name/iface#greet`, with or without the interface's version. What more
 * than one function answers to is refused, with the candidates.
 */
#include "sandbox/sandbox_internal.h"
#include "sandbox/value.h"

struct search {
    struct gb_span interface, name; /* wanted; interface may be empty */
    struct gb_export_pick pick;     /* the last candidate */
    size_t found;
    bool exact;          /* the candidate's interface is the wanted one to the letter */
    struct gb_buf names; /* of candidates */
    struct gb_buf all;   /* of all functions, cut */
    struct gb_error *error;
};

static struct gb_span without_version(struct gb_span name) {
    const uint8_t *at = name.len ? memchr(name.ptr, '@', name.len) : NULL;
    return at ? gb_span_make(name.ptr, (size_t)(at - name.ptr)) : name;
}

static char *copy(struct gb_span text, struct gb_error **err) {
    return gb_strndup(text.len ? (const char *)text.ptr : "", text.len, err);
}

static void note(struct gb_buf *to, const struct gbw_item *item) {
    char interface[GB_QUOTE_CAP];
    char name[GB_QUOTE_CAP];
    if (to->len > 400) {
        return;
    }
    gb_text_quote(gb_of_bridge(item->interface), interface);
    gb_text_quote(gb_of_bridge(item->name), name);
    gb_buf_append_format(to, NULL, "%s%.150s%s%.150s", to->len ? ", " : "", interface,
                         interface[0] ? "#" : "", name);
}

void gb_export_pick_fini(struct gb_export_pick *pick) {
    gb_free(pick->interface);
    gb_free(pick->name);
    gb_free(pick->type);
    *pick = (struct gb_export_pick){0};
}

static void take(struct search *s, const struct gbw_item *item) {
    gb_export_pick_fini(&s->pick);
    s->pick.interface = copy(gb_of_bridge(item->interface), &s->error);
    s->pick.name = copy(gb_of_bridge(item->name), &s->error);
    s->pick.type = copy(gb_of_bridge(item->type), &s->error);
}

static void look(void *user, const struct gbw_item *item) {
    struct search *s = user;
    struct gb_span interface = gb_of_bridge(item->interface);
    if (item->kind != GBW_ITEM_FUNC) {
        return;
    }
    note(&s->all, item);
    if (!gb_span_eq(gb_of_bridge(item->name), s->name)) {
        return;
    }
    bool exact = gb_span_eq(interface, s->interface);
    bool loose = s->interface.len == 0 || gb_span_eq(without_version(interface), s->interface);
    if (s->exact || (!exact && !loose)) {
        return; /* an exact one hides what would be guessed */
    }
    s->found = exact ? 1 : s->found + 1;
    s->exact = exact;
    note(&s->names, item);
    take(s, item);
}

static bool decide(struct search *s, const char *program, const char *call, struct gb_error **err) {
    char quoted[GB_QUOTE_CAP];
    gb_text_quote(gb_span_of(call), quoted);
    if (s->error) {
        return gb_error_move(err, gb_take(&s->error));
    }
    if (s->found > 1) {
        gb_fail(err, GB_INVALID_ARGUMENT, "\"%s\" exports more than one function \"%s\"", program,
                quoted);
        return gb_hint(err, "Name one of %s.", gb_buf_text(&s->names));
    }
    if (s->found == 0) {
        gb_fail(err, GB_NOT_FOUND, "\"%s\" exports no function \"%s\"", program, quoted);
        return s->all.len > 0 ? gb_hint(err, "It exports %s.", gb_buf_text(&s->all))
                              : gb_hint(err, "It exports no function at all.");
    }
    return true;
}

bool gb_export_find(const struct gbw_program *p, const char *program, const char *call,
                    struct gb_export_pick *ret, struct gb_error **err) {
    struct search s = {.name = gb_span_of(call)};
    const char *hash = strchr(call, '#');
    if (hash) {
        s.interface = gb_span_make(call, (size_t)(hash - call));
        s.name = gb_span_of(hash + 1);
    }
    gb_buf_init(&s.names, 2048);
    gb_buf_init(&s.all, 2048);
    gbw_program_exports(p, look, &s);
    bool ok = decide(&s, program, call, err);
    gb_buf_fini(&s.names);
    gb_buf_fini(&s.all);
    if (ok) {
        *ret = s.pick;
    } else {
        gb_export_pick_fini(&s.pick);
    }
    return ok;
}

/* What cannot cross is said before anything runs. */
bool gb_signature_check(const struct gb_signature *s, const char *call, const char *type,
                        struct gb_error **err) {
    if (gb_signature_is_plain(s)) {
        return true;
    }
    char quoted[GB_QUOTE_CAP];
    gb_fail(err, GB_UNSUPPORTED, "\"%s\" is %s: not all of its types can cross as values", call,
            gb_text_quote(gb_span_of(type), quoted));
    return gb_hint(err, "Call a function whose parameters and result are plain values.");
}
