/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: for each family a small hash table from label values to numbers. */
#include "obs/metrics.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/num.h"
#include "obs/metrics_internal.h"

static const uint64_t times_us[] = {100,    250,    500,     1000,    2500,    5000,
                                    10000,  25000,  50000,   100000,  250000,  500000,
                                    1000000, 2500000, 5000000, 10000000, 30000000};
static const uint64_t tokens[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384};

#define KIND_COUNTER GB_OBS_COUNTER, NULL, 0
#define KIND_GAUGE GB_OBS_GAUGE, NULL, 0
#define KIND_TIMES GB_OBS_HISTOGRAM, times_us, GB_COUNT(times_us)
#define KIND_TOKENS GB_OBS_HISTOGRAM, tokens, GB_COUNT(tokens)
const struct gb_obs_row gb_obs_rows[GB_OBS_METRICS_LEN] = {
#define GB_METRIC(id, kind, name, labels, open, series, unit, help)                                \
    {name, help, labels, open, series, unit, KIND_##kind},
#include "obs/metrics.def"
#undef GB_METRIC
};
_Static_assert(GB_COUNT(times_us) < GB_OBS_BUCKETS_MAX, "and one for what is above");
_Static_assert(GB_COUNT(tokens) < GB_OBS_BUCKETS_MAX, "and one for what is above");

struct gb_obs *gb_obs_new(struct gb_error **err) {
    struct gb_obs *o = gb_calloc(1, sizeof *o, err);
    if (!o) {
        return NULL;
    }
    for (size_t i = 0; i < GB_OBS_METRICS_LEN; i++) {
        struct gb_obs_family *f = &o->families[i];
        f->row = &gb_obs_rows[i];
        for (const char *p = f->row->labels; *p; p++) {
            f->labels_len += p == f->row->labels || *p == ',' ? 1 : 0;
        }
        pthread_mutex_init(&f->lock, NULL);
    }
    return o;
}

static void free_series(struct gb_obs_family *f) {
    for (size_t i = 0; i < GB_OBS_CHAINS; i++) {
        struct gb_obs_series *next = NULL;
        for (struct gb_obs_series *s = f->chains[i]; s; s = next) {
            next = s->next;
            gb_free(s);
        }
        f->chains[i] = NULL;
    }
    f->series_len = 0;
}

void gb_obs_free(struct gb_obs *o) {
    if (!o) {
        return;
    }
    for (size_t i = 0; i < GB_OBS_METRICS_LEN; i++) {
        free_series(&o->families[i]);
        pthread_mutex_destroy(&o->families[i].lock);
    }
    gb_free(o);
}

/* ---- finding a series, under the family's lock ---- */

struct key {
    struct gb_span values[GB_OBS_LABELS_MAX];
    uint64_t hash;
};

/* Eight bytes at a time; who chooses names can at worst make a chain long, and those are few. */
static uint64_t mix(uint64_t hash, struct gb_span text) {
    for (size_t i = 0; i < text.len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, text.ptr + i, GB_MIN(text.len - i, (size_t)8));
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    return (hash ^ text.len) * 0xbf58476d1ce4e5b9u;
}

static struct key key_of(const struct gb_obs_family *f, const char *const *labels, bool other) {
    struct key k = {.hash = 0x243f6a8885a308d3u};
    for (size_t i = 0; i < f->labels_len; i++) {
        const char *text = other && i < f->row->open_labels ? GB_OBS_OTHER : labels[i];
        k.values[i] = gb_span_make(text, strnlen(text, GB_OBS_LABEL_BYTES_MAX));
        k.hash = mix(k.hash, k.values[i]);
    }
    return k;
}


struct gb_span gb_obs_series_label(const struct gb_obs_series *s, size_t label) {
    size_t from = label == 0 ? 0 : s->ends[label - 1];
    return gb_span_make(gb_obs_texts(s) + from, s->ends[label] - from);
}

static struct gb_obs_series *look_up(struct gb_obs_family *f, const struct key *k) {
    for (struct gb_obs_series *s = f->chains[k->hash % GB_OBS_CHAINS]; s; s = s->next) {
        bool same = s->hash == k->hash;
        for (size_t i = 0; same && i < f->labels_len; i++) {
            same = gb_span_eq(gb_obs_series_label(s, i), k->values[i]);
        }
        if (same) {
            return s;
        }
    }
    return NULL;
}

static struct gb_obs_series *make(struct gb_obs_family *f, const struct key *k) {
    size_t numbers = gb_obs_numbers(f->row);
    size_t texts = 0;
    for (size_t i = 0; i < f->labels_len; i++) {
        texts += k->values[i].len;
    }
    struct gb_obs_series *s =
        gb_calloc(1, sizeof *s + numbers * sizeof s->numbers[0] + texts, NULL);
    if (!s) {
        return NULL;
    }
    s->hash = k->hash;
    s->numbers_len = (uint32_t)numbers;
    uint32_t at = 0;
    for (size_t i = 0; i < f->labels_len; i++) {
        if (k->values[i].len > 0) {
            memcpy(gb_obs_texts(s) + at, k->values[i].ptr, k->values[i].len);
        }
        at += (uint32_t)k->values[i].len;
        s->ends[i] = at;
    }
    struct gb_obs_series **chain = &f->chains[k->hash % GB_OBS_CHAINS];
    s->next = *chain;
    *chain = s;
    f->series_len++;
    return s;
}

/* Past the limit all names are "other"; its series are as many as the closed labels have values,
 * and always have room. NULL: there is no memory. */
static struct gb_obs_series *series_of(struct gb_obs *o, struct gb_obs_family *f,
                                       const char *const *labels) {
    struct key k = key_of(f, labels, false);
    struct gb_obs_series *s = look_up(f, &k);
    if (!s && f->series_len >= f->row->series_max && f->row->open_labels > 0) {
        k = key_of(f, labels, true);
        s = look_up(f, &k);
    }
    s = s ? s : make(f, &k);
    if (!s) {
        atomic_fetch_add(&o->lost, 1);
    }
    return s;
}

/* ---- updates ---- */

static void add(uint64_t *to, uint64_t n) {
    if (__builtin_add_overflow(*to, n, to)) {
        *to = UINT64_MAX;
    }
}

void gb_obs_add(struct gb_obs *o, enum gb_obs_metric m, const char *const *labels, uint64_t n) {
    struct gb_obs_family *f = &o->families[m];
    pthread_mutex_lock(&f->lock);
    struct gb_obs_series *s = series_of(o, f, labels);
    if (s) {
        add(&s->numbers[0], n);
    }
    pthread_mutex_unlock(&f->lock);
}

void gb_obs_observe(struct gb_obs *o, enum gb_obs_metric m, const char *const *labels,
                    uint64_t value) {
    struct gb_obs_family *f = &o->families[m];
    size_t bucket = 0;
    while (bucket < f->row->buckets_len && value > f->row->buckets[bucket]) {
        bucket++;
    }
    pthread_mutex_lock(&f->lock);
    struct gb_obs_series *s = series_of(o, f, labels);
    if (s) {
        add(&s->numbers[0], value);
        add(&s->numbers[1 + bucket], 1);
    }
    pthread_mutex_unlock(&f->lock);
}

void gb_obs_clear(struct gb_obs *o, enum gb_obs_metric m) {
    struct gb_obs_family *f = &o->families[m];
    pthread_mutex_lock(&f->lock);
    free_series(f);
    pthread_mutex_unlock(&f->lock);
}

/* ---- folding ---- */

/* Takes one series of the tenant out of its chain. */
static struct gb_obs_series *take(struct gb_obs_family *f, struct gb_span tenant) {
    for (size_t i = 0; i < GB_OBS_CHAINS; i++) {
        for (struct gb_obs_series **slot = &f->chains[i]; *slot; slot = &(*slot)->next) {
            struct gb_obs_series *s = *slot;
            if (gb_span_eq(gb_obs_series_label(s, 0), tenant)) {
                *slot = s->next;
                f->series_len--;
                return s;
            }
        }
    }
    return NULL;
}

static void fold(struct gb_obs *o, struct gb_obs_family *f, struct gb_span tenant) {
    for (struct gb_obs_series *s; (s = take(f, tenant)) != NULL; gb_free(s)) {
        struct key k = {.hash = 0x243f6a8885a308d3u};
        for (size_t i = 0; i < f->labels_len; i++) {
            bool open = i < f->row->open_labels;
            k.values[i] = open ? gb_span_of(GB_OBS_OTHER) : gb_obs_series_label(s, i);
            k.hash = mix(k.hash, k.values[i]);
        }
        struct gb_obs_series *other = look_up(f, &k);
        other = other ? other : make(f, &k);
        for (size_t i = 0; other && i < s->numbers_len; i++) {
            add(&other->numbers[i], s->numbers[i]);
        }
        if (!other) {
            atomic_fetch_add(&o->lost, 1);
        }
    }
}

void gb_obs_fold_tenant(struct gb_obs *o, const char *tenant) {
    struct gb_span name = gb_span_make(tenant, strnlen(tenant, GB_OBS_LABEL_BYTES_MAX));
    if (gb_span_is(name, GB_OBS_OTHER)) {
        return;
    }
    for (size_t i = 0; i < GB_OBS_METRICS_LEN; i++) {
        struct gb_obs_family *f = &o->families[i];
        if (strncmp(f->row->labels, "tenant", 6) == 0) {
            pthread_mutex_lock(&f->lock);
            fold(o, f, name);
            pthread_mutex_unlock(&f->lock);
        }
    }
}

/* ---- sums ---- */

static void sum(struct gb_obs_family *f, uint64_t ret[1 + GB_OBS_BUCKETS_MAX]) {
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < GB_OBS_CHAINS; i++) {
        for (const struct gb_obs_series *s = f->chains[i]; s; s = s->next) {
            for (size_t k = 0; k < s->numbers_len; k++) {
                add(&ret[k], s->numbers[k]);
            }
        }
    }
    pthread_mutex_unlock(&f->lock);
}

uint64_t gb_obs_total(struct gb_obs *o, enum gb_obs_metric m) {
    struct gb_obs_family *f = &o->families[m];
    uint64_t numbers[1 + GB_OBS_BUCKETS_MAX] = {0};
    sum(f, numbers);
    if (f->row->kind != GB_OBS_HISTOGRAM) {
        return numbers[0];
    }
    uint64_t n = 0;
    for (size_t i = 0; i <= f->row->buckets_len; i++) {
        add(&n, numbers[1 + i]);
    }
    return n;
}

uint64_t gb_obs_quantile(struct gb_obs *o, enum gb_obs_metric m, double share,
                         uint64_t since[GB_OBS_BUCKETS_MAX]) {
    struct gb_obs_family *f = &o->families[m];
    uint64_t numbers[1 + GB_OBS_BUCKETS_MAX] = {0};
    uint64_t counts[GB_OBS_BUCKETS_MAX];
    uint64_t all = 0;
    sum(f, numbers);
    for (size_t i = 0; i <= f->row->buckets_len; i++) {
        counts[i] = numbers[1 + i] - GB_MIN(numbers[1 + i], since[i]);
        all += counts[i];
        since[i] = numbers[1 + i];
    }
    uint64_t seen = 0;
    size_t i = 0;
    while (i < f->row->buckets_len && (double)(seen + counts[i]) < share * (double)all) {
        seen += counts[i++];
    }
    return all == 0 ? 0 : f->row->buckets[GB_MIN(i, f->row->buckets_len - 1)];
}

uint64_t gb_obs_lost(struct gb_obs *o) {
    return atomic_load(&o->lost);
}
