/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics: the families of metrics.def with their series, written in Prometheus' text format
 * (0.0.4). How many series a family can have is fixed, whatever names are offered: past that the
 * values of its open labels become "other", so a scrape has a size that nobody can drive up.
 *
 * Threads: any; a lock for each family, held for a look-up and an addition.
 * Ownership: _new and _free; label values are copied.
 * Limits: a label's value counts up to GB_OBS_LABEL_BYTES_MAX bytes. An update that finds no memory
 * for a new series is lost and counted (gb_obs_lost).
 */
#ifndef GB_OBS_METRICS_H
#define GB_OBS_METRICS_H

#include "base/buf.h"

enum gb_obs_metric {
#define GB_METRIC(id, kind, name, labels, open, series, unit, help) GB_OBS_##id,
#include "obs/metrics.def"
#undef GB_METRIC
    GB_OBS_METRICS_LEN
};

#define GB_OBS_LABELS_MAX 3u
#define GB_OBS_LABEL_BYTES_MAX 64u
#define GB_OBS_OTHER "other"
#define GB_OBS_SCRAPE_BYTES_MAX ((size_t)1024 * 1024)

struct gb_obs;
struct gb_obs *gb_obs_new(struct gb_error **err);
void gb_obs_free(struct gb_obs *o);

/* labels: as many values as the row says, in its order; NULL where it has none. */
void gb_obs_add(struct gb_obs *o, enum gb_obs_metric m, const char *const *labels, uint64_t n);
/* One observation of a histogram, in the row's unit. */
void gb_obs_observe(struct gb_obs *o, enum gb_obs_metric m, const char *const *labels,
                    uint64_t value);
/* What is counted elsewhere and told at the time of a scrape: forgotten, then added again. Several
 * that become "other" are summed. */
void gb_obs_clear(struct gb_obs *o, enum gb_obs_metric m);

/* Every series whose first label is `tenant` becomes part of "other": sums stay what they were. */
void gb_obs_fold_tenant(struct gb_obs *o, const char *tenant);
/* Over all series: of a counter or gauge its sum, of a histogram the number of observations. */
uint64_t gb_obs_total(struct gb_obs *o, enum gb_obs_metric m);
/* The upper bound of the bucket in which that share (0 to 1) of all observations since `since` (a
 * copy of the counts, updated; GB_OBS_BUCKETS_MAX of them) lies, in the row's unit. */
#define GB_OBS_BUCKETS_MAX 20u
uint64_t gb_obs_quantile(struct gb_obs *o, enum gb_obs_metric m, double share,
                         uint64_t since[GB_OBS_BUCKETS_MAX]);
uint64_t gb_obs_lost(struct gb_obs *o);

bool gb_obs_write(struct gb_obs *o, struct gb_buf *out, struct gb_error **err);
/* Appends a label's value as it stands between quotes: escaped, valid UTF-8. */
bool gb_obs_write_label(struct gb_span value, struct gb_buf *out, struct gb_error **err);

#endif
