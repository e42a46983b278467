/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `glovebox run`: the table, the checks across options, and the library's forms. */
#include "cli/run.h"

#include <string.h>

#include "base/num.h"
#include "cli/series.h"
#include "cli/values.h"

static const char *const overflow_choices[] = {"fail", "drop", NULL};
static const char *const placement_choices[] = {"worker", "inline", NULL};
enum { OVERFLOW_DROP = 1, PLACEMENT_INLINE = 1 };

#define AT(field) offsetof(struct gb_run_values, field)

static const struct gb_option run_rows[] = {
    GB_MODEL_ROWS(struct gb_run_values),
    {.name = "allow-model", .kind = GB_OPTION_LIST, .offset = AT(allow_models), .value = "NAME",
     .help = "Only models named so can be opened (and are started); repeatable; default: all."},
    {.name = "dir", .kind = GB_OPTION_LIST, .offset = AT(dirs), .value = "DIR",
     .help = "Give the guest a directory, read-only unless rw: HOST, HOST::GUEST, HOST::GUEST::rw, "
             "or GUEST:HOST[:readonly]. With \"::\" the host's path comes first, with a single "
             "\":\" the guest's."},
    {.name = "env", .kind = GB_OPTION_LIST, .offset = AT(env), .value = "NAME[=VALUE]",
     .help = "Set a variable for the guest, or pass ours on; repeatable; default: none."},
    {.name = "stdin", .kind = GB_OPTION_FLAG, .offset = AT(guest_stdin),
     .help = "The guest reads our stdin; closed by default."},
    {.name = "grant", .kind = GB_OPTION_LIST, .offset = AT(grants), .value = "NAME",
     .help = "Grant nn-load, http, kv, sockets or memory64. Built into this version are nn-load "
             "(models from the guest's bytes), memory64 (64-bit memory) and http (requests of the "
             "guest's own, which are all denied until egress can be configured)."},
    {.name = "memory", .kind = GB_OPTION_SIZE, .offset = AT(memory), .value = "SIZE",
     .initial = "64MiB", .max = 8 * GB_GIB, .help = "Linear memory, summed over the call."},
    {.name = "tables", .kind = GB_OPTION_COUNT, .offset = AT(tables), .value = "N",
     .initial = "10000", .max = UINT32_MAX, .help = "Table elements, summed over the call."},
    {.name = "instances", .kind = GB_OPTION_COUNT, .offset = AT(instances), .value = "N",
     .initial = "64", .min = 1, .max = UINT32_MAX, .help = "Core instances of the program."},
    {.name = "handles", .kind = GB_OPTION_COUNT, .offset = AT(handles), .value = "N",
     .initial = "1024", .max = UINT32_MAX, .help = "Handles that the guest may hold."},
    {.name = "stack", .kind = GB_OPTION_SIZE, .offset = AT(stack), .value = "SIZE",
     .initial = "512KiB", .min = 16 * GB_KIB, .max = 64 * GB_MIB, .help = "Stack of the guest."},
    {.name = "fuel", .kind = GB_OPTION_COUNT, .offset = AT(fuel), .value = "N",
     .example = "1000000000", .min = 1, .max = INT64_MAX,
     .help = "Instructions that the guest may execute, about; default: off."},
    {.name = "deadline", .kind = GB_OPTION_DURATION, .offset = AT(deadline_us), .value = "TIME",
     .initial = "30s", .min = 1, .max = (uint64_t)365 * 86400 * 1000000,
     .help = "From the start of instantiation; compiling and loading models do not count."},
    {.name = "output-limit", .kind = GB_OPTION_SIZE, .offset = AT(output_limit), .value = "SIZE",
     .initial = "64KiB", .max = GB_GIB, .help = "Bytes to stdout, and as many to stderr."},
    {.name = "on-overflow", .kind = GB_OPTION_CHOICE, .offset = AT(on_overflow),
     .choices = overflow_choices, .initial = "fail",
     .help = "Past the output limit: fail the call, or drop and count."},
    {.name = "budget", .kind = GB_OPTION_SIZE, .offset = AT(budget), .value = "SIZE",
     .initial = "256MiB", .min = 1, .max = (uint64_t)1 << 46,
     .help = "The ledger of this run's tenant: memories, tables, tensors, graphs, output."},
    {.name = "placement", .kind = GB_OPTION_CHOICE, .offset = AT(placement),
     .choices = placement_choices, .initial = "worker",
     .help = "Where this run's models run: each in a jailed process, or inline, in this one. "
             "Inline "
             "is for models that you trust and that answer within 1 ms: nothing walls in the "
             "engine's memory, and a deadline does not end a running inference."},
    GB_ENGINE_ROWS(struct gb_run_values),
    {.name = "call", .kind = GB_OPTION_TEXT, .offset = AT(call), .value = "NAME",
     .help = "Call an exported function instead, such as greet or pkg:name/iface#greet (its "
             "version where that is ambiguous); its result is printed as JSON."},
    {.name = "args", .kind = GB_OPTION_TEXT, .offset = AT(args), .value = "JSON",
     .help = "Its arguments: an array by position, or an object by parameter name; - reads them "
             "from stdin; default: none."},
    {.name = "repeat", .kind = GB_OPTION_COUNT, .offset = AT(repeat), .value = "N",
     .example = "100", .min = 1, .max = GB_SERIES_CALLS_MAX,
     .help = "Make N calls, a new instance each, going on after failures; times on stderr."},
    {.name = "jobs", .kind = GB_OPTION_COUNT, .offset = AT(jobs), .value = "M", .example = "8",
     .min = 1, .max = GB_SERIES_JOBS_MAX,
     .help = "With --repeat: calls in flight at once; default: 1."},
    {.name = "usage", .kind = GB_OPTION_FLAG, .offset = AT(usage),
     .help = "Print what the run used on stderr, in one line."},
    {.name = "compat", .kind = GB_OPTION_TEXT, .offset = AT(compat), .value = "wasmedge",
     .help = "Tolerances for stock guests; not built into this version."},
    GB_COMMON_ROWS(struct gb_run_values),
};

const struct gb_option_table gb_run_table = {
    .verb = "run", .options = run_rows, .len = GB_COUNT(run_rows), .stop_at_operand = true};

/* ---- checks ---- */

static bool not_built(struct gb_error **err, const char *what) {
    gb_fail(err, GB_UNSUPPORTED, "%s is not built into this version", what);
    return gb_hint(err, "Leave it out; `glovebox run --help` lists what there is.");
}

/* Of the others only the names are known yet. */
static bool grant_built(const char *name) {
    return strcmp(name, "memory64") == 0 || strcmp(name, "http") == 0 ||
           strcmp(name, "nn-load") == 0;
}

static bool check_grants(const struct gb_option_list *list, struct gb_error **err) {
    static const char *const names[] = {"nn-load", "http", "kv", "sockets", "memory64"};
    for (size_t i = 0; i < list->len; i++) {
        for (size_t k = 0; k < GB_COUNT(names); k++) {
            if (strcmp(names[k], list->items[i]) == 0 && !grant_built(names[k])) {
                gb_fail(err, GB_UNSUPPORTED, "the grant \"%s\" is not built into this version",
                        names[k]);
                return gb_hint(err, "wasi:nn on the models of the registry, clocks and random "
                                    "numbers need no grant.");
            }
        }
        if (grant_built(list->items[i])) {
            continue;
        }
        gb_fail(err, GB_USAGE_ERROR, "--grant names the unknown grant \"%s\"", list->items[i]);
        const char *near = gb_nearest(list->items[i], names, GB_COUNT(names));
        return gb_hint(err, "%s%s%sGrants are nn-load, http, kv, sockets and memory64.",
                       near ? "Did you mean " : "", near ? near : "", near ? "? " : "");
    }
    return true;
}

bool gb_run_check(const struct gb_run_values *v, struct gb_error **err) {
    if (v->jobs > 0 && v->repeat == 0) {
        gb_fail(err, GB_USAGE_ERROR, "--jobs needs --repeat");
        return gb_hint(err, "Write, for example, --repeat 100 --jobs 8.");
    }
    if (v->compat && strcmp(v->compat, "wasmedge") != 0) {
        gb_fail(err, GB_USAGE_ERROR, "--compat takes wasmedge, not \"%s\"", v->compat);
        return gb_hint(err, "Write --compat wasmedge.");
    }
    if (v->args && !v->call) {
        gb_fail(err, GB_USAGE_ERROR, "--args needs --call");
        return gb_hint(err, "Write, for example, --call greet --args '[\"you\"]'.");
    }
    if (v->args && strcmp(v->args, "-") == 0 && v->guest_stdin) {
        gb_fail(err, GB_USAGE_ERROR, "--args - and --stdin both want our stdin");
        return gb_hint(err, "Give the arguments on the command line, or leave out --stdin.");
    }
    if (v->compat) {
        return not_built(err, "--compat wasmedge");
    }
    return check_grants(&v->grants, err) && gb_setup_check_models(&v->models, err);
}

/* ---- the library's forms ---- */

static bool make_dirs(const struct gb_option_list *list, struct gb_run_options *o,
                      struct gb_error **err) {
    if (list->len == 0) {
        return true;
    }
    o->dirs = gb_calloc(list->len, 3 * sizeof *o->dirs, err);
    if (!o->dirs) {
        return false;
    }
    for (size_t i = 0; i < list->len; i++) {
        struct gb_dir_value d;
        if (!gb_value_dir(list->items[i], &d, err)) {
            return false;
        }
        o->dirs[o->dirs_len++] = d.host;
        o->dirs[o->dirs_len++] = d.guest;
        o->dirs[o->dirs_len] = gb_strdup(d.writable ? "rw" : "ro", err);
        if (!o->dirs[o->dirs_len]) {
            return false;
        }
        o->dirs_len++;
    }
    return true;
}

static bool make_env(const struct gb_option_list *list, struct gb_run_options *o,
                     struct gb_error **err) {
    if (list->len == 0) {
        return true;
    }
    o->env = gb_calloc(list->len, sizeof *o->env, err);
    for (size_t i = 0; o->env && i < list->len; i++) {
        if (!gb_value_env(list->items[i], &o->env[i], err)) {
            return false;
        }
        o->env_len++;
    }
    return o->env != NULL;
}

static void fill_options(const struct gb_run_values *v, struct gb_run_options *o) {
    gb_setup_host_options(&v->engine, &o->host);
    o->host.budget_bytes = v->budget;
    o->host.place_inline = v->placement == PLACEMENT_INLINE;
    o->host.host_bytes = GB_MAX(o->host.host_bytes, v->budget);
    o->host.stack_bytes = v->stack;
    o->host.memory_bytes_max = GB_MAX(o->host.memory_bytes_max, v->memory);
    o->host.calls_max = (uint32_t)GB_MAX(v->jobs, (uint64_t)1);
    gb_limit_options_default(&o->limits);
    o->limits.memory_bytes = v->memory;
    o->limits.table_elements = v->tables;
    o->limits.instances = (uint32_t)v->instances;
    o->limits.handles = (uint32_t)v->handles;
    o->limits.fuel = v->fuel;
    o->limits.deadline_us = v->deadline_us;
    o->limits.output_bytes = v->output_limit;
    o->limits.output_drop = v->on_overflow == OVERFLOW_DROP;
    gb_grant_options_default(&o->grants);
    o->grants.stdin_inherited = v->guest_stdin;
    for (size_t i = 0; i < v->grants.len; i++) {
        o->grants.memory64 |= strcmp(v->grants.items[i], "memory64") == 0;
        o->grants.http |= strcmp(v->grants.items[i], "http") == 0;
        o->grants.nn_load |= strcmp(v->grants.items[i], "nn-load") == 0;
    }
    o->grants.all_models = v->allow_models.len == 0;
    o->grants.models = v->allow_models.items;
    o->grants.models_len = v->allow_models.len;
}

bool gb_run_options_make(const struct gb_run_values *v, struct gb_run_options *ret_options,
                         struct gb_error **err) {
    struct gb_run_options o = {0};
    fill_options(v, &o);
    if (!make_dirs(&v->dirs, &o, err) || !make_env(&v->env, &o, err)) {
        gb_run_options_fini(&o);
        return false;
    }
    o.grants.dirs = (const char *const *)o.dirs;
    o.grants.dirs_len = o.dirs_len;
    o.grants.env = (const char *const *)o.env;
    o.grants.env_len = o.env_len;
    *ret_options = o;
    return true;
}

void gb_run_options_fini(struct gb_run_options *o) {
    for (size_t i = 0; i < o->dirs_len; i++) {
        gb_free(o->dirs[i]);
    }
    gb_free(o->dirs);
    for (size_t i = 0; i < o->env_len; i++) {
        gb_free(o->env[i]);
    }
    gb_free(o->env);
    *o = (struct gb_run_options){0};
}
