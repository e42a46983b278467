/* SPDX-License-Identifier: Apache-2.0 */
/* What the registry and its writer share. */
#ifndef GB_OBS_METRICS_INTERNAL_H
#define GB_OBS_METRICS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "obs/metrics.h"

#define GB_OBS_CHAINS 256u

enum gb_obs_kind { GB_OBS_COUNTER, GB_OBS_GAUGE, GB_OBS_HISTOGRAM };
struct gb_obs_row {
    const char *name;
    const char *help;
    const char *labels; /* "tenant,model" */
    uint32_t open_labels;
    uint32_t series_max;
    uint64_t unit;
    enum gb_obs_kind kind;
    const uint64_t *buckets; /* upper bounds */
    size_t buckets_len;
};
extern const struct gb_obs_row gb_obs_rows[GB_OBS_METRICS_LEN];

/* One block: the numbers, then the values of the labels. numbers[0] is the value or the sum of all
 * observations; behind it of a histogram the counts of each bucket and of what is above. */
struct gb_obs_series {
    struct gb_obs_series *next;
    uint64_t hash;
    uint32_t ends[GB_OBS_LABELS_MAX]; /* where each label's value ends */
    uint32_t numbers_len;
    uint64_t numbers[];
};
static inline size_t gb_obs_numbers(const struct gb_obs_row *row) {
    return row->kind == GB_OBS_HISTOGRAM ? 2 + row->buckets_len : 1;
}
static inline uint8_t *gb_obs_texts(const struct gb_obs_series *s) {
    return (uint8_t *)(uintptr_t)(s->numbers + s->numbers_len);
}
struct gb_span gb_obs_series_label(const struct gb_obs_series *s, size_t label);

struct gb_obs_family {
    const struct gb_obs_row *row;
    size_t labels_len;
    pthread_mutex_t lock; /* the fields below */
    size_t series_len;
    struct gb_obs_series *chains[GB_OBS_CHAINS];
};
struct gb_obs {
    _Atomic uint64_t lost;
    struct gb_obs_family families[GB_OBS_METRICS_LEN];
};

#endif
