/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tenant's metrics: a sorted array of names with a fixed end, so that a guest that makes up names
 * costs a bounded amount and can be seen doing it.
 */
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "host/host.h"

struct gb_metrics {
    pthread_mutex_t lock;
    struct gb_metrics_totals totals;
    size_t len;
    struct gb_metric metrics[GB_METRICS_NAMES_MAX]; /* by name */
};

struct gb_metrics *gb_metrics_new(struct gb_error **err) {
    struct gb_metrics *m = gb_calloc(1, sizeof *m, err);
    if (m) {
        pthread_mutex_init(&m->lock, NULL);
    }
    return m;
}

void gb_metrics_free(struct gb_metrics *m) {
    if (m) {
        pthread_mutex_destroy(&m->lock);
        gb_free(m);
    }
}

static bool name_ok(struct gb_span name) {
    if (name.len == 0 || name.len > GB_METRICS_NAME_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool letter = c >= 'a' && c <= 'z';
        bool other = (c >= '0' && c <= '9') || c == '_';
        if (!letter && (i == 0 || !other)) {
            return false;
        }
    }
    return true;
}

/* Where the name is, or belongs. */
static size_t place_of(const struct gb_metrics *m, struct gb_span name, bool *ret_found) {
    size_t low = 0;
    size_t high = m->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *other = m->metrics[middle].name;
        size_t other_len = strlen(other);
        size_t shared = name.len < other_len ? name.len : other_len;
        int order = memcmp(other, name.ptr, shared);
        if (order == 0 && other_len == name.len) {
            *ret_found = true;
            return middle;
        }
        if (order < 0 || (order == 0 && other_len < name.len)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_found = false;
    return low;
}

/* The metric of that name and kind, made if there is room; NULL: counted as what it is. */
static struct gb_metric *find(struct gb_metrics *m, struct gb_span name, bool is_gauge,
                              uint64_t count) {
    bool found;
    if (!name_ok(name)) {
        m->totals.invalid++;
        return NULL;
    }
    size_t at = place_of(m, name, &found);
    if (found && m->metrics[at].is_gauge != is_gauge) {
        m->totals.invalid++;
        return NULL;
    }
    if (found) {
        return &m->metrics[at];
    }
    if (m->len == GB_METRICS_NAMES_MAX) {
        m->totals.overflow++;
        if (__builtin_add_overflow(m->totals.overflow_count, count, &m->totals.overflow_count)) {
            m->totals.overflow_count = UINT64_MAX;
        }
        return NULL;
    }
    struct gb_metric *metric = &m->metrics[at];
    memmove(metric + 1, metric, (m->len - at) * sizeof *metric);
    *metric = (struct gb_metric){.is_gauge = is_gauge};
    memcpy(metric->name, name.ptr, name.len);
    m->len++;
    return metric;
}

void gb_metrics_counter(struct gb_metrics *m, struct gb_span name, uint64_t value) {
    pthread_mutex_lock(&m->lock);
    struct gb_metric *metric = find(m, name, false, value);
    if (metric && __builtin_add_overflow(metric->count, value, &metric->count)) {
        metric->count = UINT64_MAX;
    }
    pthread_mutex_unlock(&m->lock);
}

void gb_metrics_gauge(struct gb_metrics *m, struct gb_span name, double value) {
    pthread_mutex_lock(&m->lock);
    struct gb_metric *metric = find(m, name, true, 0);
    if (metric) {
        metric->level = value;
    }
    pthread_mutex_unlock(&m->lock);
}

void gb_metrics_each(struct gb_metrics *m, void (*each)(void *user, const struct gb_metric *metric),
                     void *user, struct gb_metrics_totals *ret_totals) {
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->len; i++) {
        each(user, &m->metrics[i]);
    }
    *ret_totals = m->totals;
    pthread_mutex_unlock(&m->lock);
}
