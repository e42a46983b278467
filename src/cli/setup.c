/* SPDX-License-Identifier: Apache-2.0 */
/* Shared set-up of the verbs that need engines and models. */
#include "cli/setup.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "cli/values.h"

const char *const gb_jail_choices[] = {"strict", "best-effort", NULL};
enum { JAIL_BEST_EFFORT = 1 };

bool gb_setup_common(const struct gb_common_options *common, enum gb_interrupt_report json_form,
                     struct gb_error **err) {
    if (common->verbose) {
        gb_log_set_level(GB_LOG_INFO);
    }
    gb_signals_report_as(common->json ? json_form : GB_INTERRUPT_TEXT);
    return gb_signals_start(err);
}

void gb_setup_host_options(const struct gb_engine_values *engine,
                           struct gb_host_options *ret_options) {
    gb_host_options_default(ret_options);
    ret_options->worker_path = engine->worker;
    ret_options->ort_lib_path = engine->ort_lib;
    ret_options->cache_dir = engine->cache;
    ret_options->jail_best_effort = engine->jail == JAIL_BEST_EFFORT;
}

static bool target_available(const struct gb_model_value *m, struct gb_error **err) {
    if (!m->target || strcmp(m->target, "cpu") == 0 || strcmp(m->target, "auto") == 0) {
        return true;
    }
    gb_fail(err, GB_BACKEND_MISSING, "no engine of this version runs on target \"%s\", so \"%s\" "
                                     "cannot be loaded",
            m->target, m->name);
    return gb_hint(err, "Use the target cpu or auto.");
}

typedef bool value_fn(const char *text, struct gb_model_value *ret_model, struct gb_error **err);

/* Reads every value; adds the models where there is a host. */
static bool each_model(struct gb_host *host, const struct gb_option_list *list, value_fn *read,
                       struct gb_error **err) {
    for (size_t i = 0; i < list->len; i++) {
        struct gb_model_value m;
        if (!read(list->items[i], &m, err)) {
            return false;
        }
        bool ok = target_available(&m, err) &&
                  (!host || gb_host_add_model(host, m.name, m.path, m.encoding, err));
        gb_model_value_fini(&m);
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool gb_setup_check_models(const struct gb_model_values *values, struct gb_error **err) {
    return each_model(NULL, &values->models, gb_value_model, err) &&
           each_model(NULL, &values->preloads, gb_value_preload, err);
}

static const char *default_dir(void) {
    const char *dir = getenv("MODEL_DIR");
    struct stat st;
    if (dir && dir[0] != '\0') {
        return dir;
    }
    return stat("./models", &st) == 0 && S_ISDIR(st.st_mode) ? "./models" : NULL;
}

bool gb_setup_add_models(struct gb_host *host, const struct gb_model_values *values,
                         bool use_default_dir, struct gb_error **err) {
    if (values->dir && !gb_host_add_model_dir(host, values->dir, err)) {
        return false;
    }
    if (!each_model(host, &values->models, gb_value_model, err) ||
        !each_model(host, &values->preloads, gb_value_preload, err)) {
        return false;
    }
    const char *dir = use_default_dir && !values->dir ? default_dir() : NULL;
    return !dir || gb_host_add_default_model_dir(host, dir, err);
}
