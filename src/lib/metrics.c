/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guests' metrics as JSON. Names are [a-z][a-z0-9_]*, so they are keys as they are; a gauge
 * that JSON has no number for is a text.
 */
#include <math.h>

#include "lib/json.h"
#include "lib/lib.h"

struct writer {
    struct gb_json *j;
    yyjson_mut_val *counters, *gauges;
};

static yyjson_mut_val *gauge_json(struct gb_json *j, double level) {
    if (isfinite(level)) {
        return yyjson_mut_real(j->doc, level);
    }
    return gb_json_text(j, gb_span_of(isnan(level) ? "NaN" : level > 0 ? "Infinity" : "-Infinity"));
}

static void add_metric(void *user, const struct gb_metric *metric) {
    struct writer *w = user;
    yyjson_mut_val *key = gb_json_text(w->j, gb_span_of(metric->name)); /* copied */
    yyjson_mut_val *value = metric->is_gauge ? gauge_json(w->j, metric->level)
                                             : yyjson_mut_uint(w->j->doc, metric->count);
    (void)yyjson_mut_obj_add(metric->is_gauge ? w->gauges : w->counters, key, value);
}

static yyjson_mut_val *tenant_json(struct gb_json *j, const char *name, struct gb_services *s) {
    yyjson_mut_val *object = yyjson_mut_obj(j->doc);
    struct writer w = {
        .j = j, .counters = yyjson_mut_obj(j->doc), .gauges = yyjson_mut_obj(j->doc)};
    struct gb_metrics_totals totals;
    gb_metrics_each(gb_services_metrics(s), add_metric, &w, &totals);
    struct gb_guest_log_totals log = gb_guest_log_totals(gb_services_log(s));
    gb_json_add_text(j, object, "tenant", name);
    gb_json_add(j, object, "counters", w.counters);
    gb_json_add(j, object, "gauges", w.gauges);
    gb_json_add_u64(j, object, "invalid", totals.invalid);
    gb_json_add_u64(j, object, "overflow", totals.overflow);
    gb_json_add_u64(j, object, "overflow_count", totals.overflow_count);
    gb_json_add_u64(j, object, "log_lines", log.written);
    gb_json_add_u64(j, object, "log_dropped", log.dropped);
    return object;
}

char *gb_host_metrics_json(struct gb_host *h, struct gb_error **err) {
    struct gb_json j;
    gb_json_init(&j);
    yyjson_mut_val *root = yyjson_mut_obj(j.doc);
    yyjson_mut_val *tenants = yyjson_mut_arr(j.doc);
    (void)yyjson_mut_arr_append(tenants, tenant_json(&j, gb_account_name(h->tenant), h->services));
    gb_json_add(&j, root, "tenants", tenants);
    return gb_json_finish(&j, root, YYJSON_WRITE_NOFLAG, err);
}
