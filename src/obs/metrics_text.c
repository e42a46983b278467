/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry in Prometheus' text format, version 0.0.4. Numbers are written exactly: times are
 * kept in microseconds, and 1500 of them are 0.0015 seconds.
 */
#include <stdio.h>

#include "base/num.h"
#include "obs/metrics_internal.h"

#define NUMBER_CAP 40

/* n/unit, unit being a power of ten, without trailing zeros. */
static const char *number(uint64_t n, uint64_t unit, char text[static NUMBER_CAP]) {
    int digits = 0;
    for (uint64_t u = unit; u > 1; u /= 10) {
        digits++;
    }
    int len = digits == 0
                  ? snprintf(text, NUMBER_CAP, "%llu", (unsigned long long)n)
                  : snprintf(text, NUMBER_CAP, "%llu.%0*llu", (unsigned long long)(n / unit),
                             digits, (unsigned long long)(n % unit));
    while (digits > 0 && len > 0 && (text[len - 1] == '0' || text[len - 1] == '.')) {
        bool dot = text[len - 1] == '.';
        text[--len] = '\0';
        if (dot) {
            break;
        }
    }
    return text;
}

static size_t utf8_len(struct gb_span rest) {
    size_t n = rest.ptr[0] < 0x80 ? 1 : rest.ptr[0] < 0xe0 ? 2 : rest.ptr[0] < 0xf0 ? 3 : 4;
    return n <= rest.len && gb_utf8_valid(gb_span_make(rest.ptr, n)) ? n : 0;
}

bool gb_obs_write_label(struct gb_span value, struct gb_buf *out, struct gb_error **err) {
    bool ok = true;
    for (size_t i = 0; ok && i < value.len;) {
        uint8_t c = value.ptr[i];
        size_t n = utf8_len(gb_span_make(value.ptr + i, value.len - i));
        if (c == '\n' || c == '"' || c == '\\') {
            ok = gb_buf_append_text(out, c == '\n' ? "\\n" : c == '"' ? "\\\"" : "\\\\", err);
        } else {
            ok = n > 0 ? gb_buf_append(out, value.ptr + i, n, err)
                       : gb_buf_append_text(out, "?", err);
        }
        i += n > 0 ? n : 1;
    }
    return ok;
}

/* {tenant="a",model="b"}, with le behind them if there is one. */
static bool write_labels(const struct gb_obs_family *f, const struct gb_obs_series *s,
                         const char *le, struct gb_buf *out, struct gb_error **err) {
    const char *name = f->row->labels;
    const char *before = "{";
    for (size_t i = 0; i < f->labels_len; i++) {
        size_t len = strcspn(name, ",");
        if (!gb_buf_append_text(out, before, err) || !gb_buf_append(out, name, len, err) ||
            !gb_buf_append_text(out, "=\"", err) ||
            !gb_obs_write_label(gb_obs_series_label(s, i), out, err) ||
            !gb_buf_append_text(out, "\"", err)) {
            return false;
        }
        name += len + (name[len] ? 1 : 0);
        before = ",";
    }
    if (le && !gb_buf_append_format(out, err, "%sle=\"%s\"", before, le)) {
        return false;
    }
    return (f->labels_len == 0 && !le) || gb_buf_append_text(out, "}", err);
}

static bool write_line(const struct gb_obs_family *f, const struct gb_obs_series *s,
                       const char *suffix, const char *le, const char *value, struct gb_buf *out,
                       struct gb_error **err) {
    return gb_buf_append_text(out, f->row->name, err) && gb_buf_append_text(out, suffix, err) &&
           write_labels(f, s, le, out, err) && gb_buf_append_text(out, " ", err) &&
           gb_buf_append_text(out, value, err) && gb_buf_append_text(out, "\n", err);
}

static bool write_histogram(const struct gb_obs_family *f, const struct gb_obs_series *s,
                            struct gb_buf *out, struct gb_error **err) {
    char value[NUMBER_CAP];
    char le[NUMBER_CAP];
    uint64_t count = 0;
    for (size_t i = 0; i <= f->row->buckets_len; i++) {
        count += s->numbers[1 + i];
        const char *bound =
            i < f->row->buckets_len ? number(f->row->buckets[i], f->row->unit, le) : "+Inf";
        if (!write_line(f, s, "_bucket", bound, number(count, 1, value), out, err)) {
            return false;
        }
    }
    return write_line(f, s, "_sum", NULL, number(s->numbers[0], f->row->unit, value), out, err) &&
           write_line(f, s, "_count", NULL, number(count, 1, value), out, err);
}

static bool write_family(struct gb_obs_family *f, struct gb_buf *out, struct gb_error **err) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    bool ok = gb_buf_append_format(out, err, "# HELP %s %s\n# TYPE %s %s\n", f->row->name,
                                   f->row->help, f->row->name, kinds[f->row->kind]);
    for (size_t i = 0; ok && i < GB_OBS_CHAINS; i++) {
        for (const struct gb_obs_series *s = f->chains[i]; ok && s; s = s->next) {
            char value[NUMBER_CAP];
            ok = f->row->kind == GB_OBS_HISTOGRAM
                     ? write_histogram(f, s, out, err)
                     : write_line(f, s, "", NULL, number(s->numbers[0], f->row->unit, value), out,
                                  err);
        }
    }
    return ok;
}

bool gb_obs_write(struct gb_obs *o, struct gb_buf *out, struct gb_error **err) {
    bool ok = true;
    for (size_t i = 0; ok && i < GB_OBS_METRICS_LEN; i++) {
        struct gb_obs_family *f = &o->families[i];
        pthread_mutex_lock(&f->lock);
        ok = write_family(f, out, err);
        pthread_mutex_unlock(&f->lock);
    }
    return ok;
}
