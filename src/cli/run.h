/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `glovebox run`, and what is made of them. */
#ifndef GB_CLI_RUN_H
#define GB_CLI_RUN_H

#include "cli/setup.h"

struct gb_run_values {
    struct gb_common_options common;
    struct gb_engine_values engine;
    struct gb_model_values models;
    struct gb_option_list allow_models, dirs, env, grants;
    bool guest_stdin, usage;
    uint64_t memory, tables, instances, handles, stack, fuel, deadline_us, output_limit, budget;
    int on_overflow, placement;
    uint64_t repeat, jobs;
    const char *call, *args, *compat;
};
extern const struct gb_option_table gb_run_table;

/* What can be said against the options before anything is started. */
bool gb_run_check(const struct gb_run_values *v, struct gb_error **err);

/* The library's forms of the options, with what they own. */
struct gb_run_options {
    struct gb_host_options host;
    struct gb_limit_options limits;
    struct gb_grant_options grants;
    char **dirs; /* triples */
    size_t dirs_len;
    char **env;
    size_t env_len;
};
bool gb_run_options_make(const struct gb_run_values *v, struct gb_run_options *ret_options,
                         struct gb_error **err);
void gb_run_options_fini(struct gb_run_options *o);

#endif
