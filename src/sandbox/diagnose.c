/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says before anything runs what is wrong with a program's imports and exports: which interface,
 * what this host has instead, which option would provide it. Golden tests pin the texts.
 */
#include "sandbox/sandbox_internal.h"

static void hint_inspect(struct gb_error **err, const char *program) {
    gb_hint(err, "Run `glovebox inspect %s` to see every import and what this host has.", program);
}

static void say_missing(struct gb_diagnosis *d, const struct gbw_item *item,
                        const struct gb_import_verdict *v) {
    char from[GB_QUOTE_CAP];
    char what[GB_QUOTE_CAP];
    gb_text_quote(gb_of_bridge(item->interface), from);
    gb_text_quote(gb_of_bridge(item->name), what);
    if (d->is_component) {
        gb_fail(&d->error, GB_IMPORT_MISSING,
                "the program imports \"%s\", which this host does not have",
                item->interface.len ? from : what);
    } else {
        gb_fail(&d->error, GB_IMPORT_MISSING,
                "the program imports \"%s\" from \"%s\", which this host does not have", what,
                from);
    }
    if (v->advice) {
        gb_hint(&d->error, "%s", v->advice);
    } else {
        hint_inspect(&d->error, d->program_name);
    }
}

static void say_unbuilt(struct gb_diagnosis *d, const char *from,
                        const struct gb_import_verdict *v) {
    if (v->grant) {
        gb_fail(&d->error, GB_UNSUPPORTED,
                "the program imports \"%s\": the grant \"%s\" is not built yet", from, v->grant);
    } else {
        gb_fail(&d->error, GB_UNSUPPORTED, "the program imports \"%s\", which is not built yet",
                from);
    }
    if (v->advice) {
        gb_hint(&d->error, "%s", v->advice);
    } else {
        hint_inspect(&d->error, d->program_name);
    }
}

static void say_old_nn(struct gb_diagnosis *d, const char *from, const char *what) {
    gb_fail(&d->error, GB_IMPORT_MISSING,
            "the program imports \"%s\" of \"%s\", which that version does not have", what, from);
    gb_hint(&d->error,
            "set-input, compute without arguments and get-output belong to 0.2.0-rc-2024-08-19: "
            "build against that version, or pass the inputs to compute and use the outputs that "
            "it returns.");
}

static void say_other_type(struct gb_diagnosis *d, const struct gbw_item *item, const char *from,
                           const struct gb_import_verdict *v) {
    char what[GB_QUOTE_CAP];
    char type[GB_QUOTE_CAP];
    gb_text_quote(gb_of_bridge(item->name), what);
    gb_text_quote(gb_of_bridge(item->type), type);
    if (v->have) {
        gb_fail(&d->error, GB_IMPORT_MISSING,
                "the program imports \"%s\" of \"%s\" as %s; this host has %s", what, from, type,
                v->have);
    } else {
        gb_fail(&d->error, GB_IMPORT_MISSING,
                "the program imports \"%s\" of \"%s\", which this host does not have", what, from);
    }
    gb_hint(&d->error, "Build the program against the interface that the host defines.");
}

void gb_diagnose_import(void *diagnosis, const struct gbw_item *item) {
    struct gb_diagnosis *d = diagnosis;
    struct gb_import_verdict v;
    gb_import_judge(item, d->is_component, d->grants, &v);
    d->link_flags |= v.link_flags;
    d->uses_nn = d->uses_nn || v.is_nn;
    if (d->error) {
        return; /* the first one is told; `inspect` shows all */
    }
    char from[GB_QUOTE_CAP];
    char what[GB_QUOTE_CAP];
    gb_text_quote(gb_of_bridge(item->interface), from);
    switch (v.state) {
    case GB_IMPORT_HAVE:
    case GB_IMPORT_IGNORED:
        break;
    case GB_IMPORT_UNKNOWN:
        say_missing(d, item, &v);
        break;
    case GB_IMPORT_VERSION:
        gb_fail(&d->error, GB_IMPORT_MISSING, "the program imports \"%s\"; this host has %s", from,
                v.have);
        gb_hint(&d->error, "%s", v.advice);
        break;
    case GB_IMPORT_UNGRANTED:
        gb_fail(&d->error, GB_GRANT_MISSING,
                "the program imports \"%s\", which needs the grant \"%s\"", from, v.grant);
        if (v.advice) {
            gb_hint(&d->error, "%s", v.advice);
        } else {
            gb_hint(&d->error, "Add --grant %s if the program may use it.", v.grant);
        }
        break;
    case GB_IMPORT_TYPE:
        say_other_type(d, item, from, &v);
        break;
    case GB_IMPORT_UNBUILT:
        say_unbuilt(d, from, &v);
        break;
    case GB_IMPORT_OLD_NN:
        say_old_nn(d, from, gb_text_quote(gb_of_bridge(item->name), what));
        break;
    }
}

/* ---- what to run ---- */

struct entries {
    bool agent, command, start, http;
    char run_type[GB_QUOTE_CAP]; /* of a root export `run` that is no agent's */
    struct gb_buf names;         /* of all exports, cut */
};

/* "func(NAME: string) -> result<string, string>", with any parameter name or none. */
static bool is_agent_type(struct gb_span type) {
    static const char head[] = "func(";
    static const char tail[] = "string) -> result<string, string>";
    if (type.len < sizeof head - 1 + sizeof tail - 1 || memcmp(type.ptr, head, 5) != 0) {
        return false;
    }
    size_t middle = type.len - (sizeof tail - 1);
    if (memcmp(type.ptr + middle, tail, sizeof tail - 1) != 0) {
        return false;
    }
    if (middle == 5) {
        return true;
    }
    /* What is between must be one "name: ". */
    struct gb_span name = gb_span_make(type.ptr + 5, middle - 5);
    return name.len > 2 && memcmp(name.ptr + name.len - 2, ": ", 2) == 0 &&
           !memchr(name.ptr, ',', name.len) && !memchr(name.ptr, ':', name.len - 2);
}

static void note_name(struct entries *e, const struct gbw_item *item) {
    char text[GB_QUOTE_CAP];
    struct gb_span name = gb_of_bridge(item->interface.len ? item->interface : item->name);
    if (e->names.len < 300) {
        gb_buf_append_format(&e->names, NULL, "%s\"%.120s\"", e->names.len ? ", " : "",
                             gb_text_quote(name, text));
    } else if (e->names.len < 310) {
        gb_buf_append_text(&e->names, ", and more", NULL);
    }
}

static void note_export(void *user, const struct gbw_item *item) {
    struct entries *e = user;
    struct gb_span interface = gb_of_bridge(item->interface);
    struct gb_span name = gb_of_bridge(item->name);
    static const char run[] = "wasi:cli/run@0.2.";
    bool is_run = interface.len > sizeof run - 1 && memcmp(interface.ptr, run, sizeof run - 1) == 0;
    static const char handler[] = "wasi:http/incoming-handler@0.2.";
    bool is_http = interface.len > sizeof handler - 1 &&
                   memcmp(interface.ptr, handler, sizeof handler - 1) == 0;
    if (interface.len != 0 && name.len != 0) {
        e->command = e->command || (is_run && gb_span_is(name, "run"));
        e->http = e->http || (is_http && gb_span_is(name, "handle"));
        return; /* a member: its interface was named before */
    }
    note_name(e, item);
    if (item->kind != GBW_ITEM_FUNC || interface.len != 0) {
        return;
    }
    if (gb_span_is(name, "run")) {
        struct gb_span type = gb_of_bridge(item->type);
        e->agent = is_agent_type(type);
        if (!e->agent) {
            gb_text_quote(type, e->run_type);
        }
    }
    e->start = e->start || gb_span_is(name, "_start");
}

static bool say_nothing_to_run(const struct entries *e, const char *name, bool is_component,
                               struct gb_error **err) {
    if (is_component && e->run_type[0]) {
        gb_fail(err, GB_COMPONENT_INVALID,
                "\"run\" of \"%s\" is a %s; an agent's is a func(string) -> result<string, string>",
                name, e->run_type);
        return gb_hint(err, "Change the type of \"run\", or export wasi:cli/run@0.2.0.");
    }
    gb_fail(err, GB_COMPONENT_INVALID, "\"%s\" has nothing to run", name);
    if (e->names.len == 0) {
        return gb_hint(err, is_component ? "It exports nothing: export run: func(string) -> "
                                           "result<string, string>, or wasi:cli/run@0.2.0."
                                         : "It exports nothing: a command exports _start.");
    }
    return gb_hint(err, "It exports %s, but none of %s. Call another export with --call.",
                   gb_buf_text(&e->names), is_component ? "run and wasi:cli/run@0.2" : "_start");
}

bool gb_choose_entry(const struct gbw_program *p, const char *name, enum gb_entry *ret_entry,
                     struct gb_error **err) {
    struct entries e = {0};
    gb_buf_init(&e.names, 1024);
    gbw_program_exports(p, note_export, &e);
    bool is_component = gbw_program_is_component(p);
    bool ok = is_component ? e.agent || e.command || e.http : e.start;
    if (ok) {
        *ret_entry = !is_component ? GB_ENTRY_START
                     : e.agent     ? GB_ENTRY_AGENT
                     : e.command   ? GB_ENTRY_COMMAND
                                   : GB_ENTRY_HTTP;
    } else {
        say_nothing_to_run(&e, name, is_component, err);
    }
    gb_buf_fini(&e.names);
    return ok;
}

bool gb_check_http_entry(const struct gbw_program *p, const char *name, struct gb_error **err) {
    struct entries e = {0};
    gb_buf_init(&e.names, 1024);
    gbw_program_exports(p, note_export, &e);
    if (!e.http) {
        gb_fail(err, GB_COMPONENT_INVALID, "\"%s\" has nothing that answers HTTP requests", name);
        gb_hint(err, "It exports %s, but not wasi:http/incoming-handler@0.2.",
                e.names.len > 0 ? gb_buf_text(&e.names) : "nothing");
    }
    gb_buf_fini(&e.names);
    return e.http;
}
