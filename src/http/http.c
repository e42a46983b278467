/* SPDX-License-Identifier: Apache-2.0 */
/* Methods, reasons, dates, and what names and values of fields may hold. */
#include "http/http.h"

#include "base/buf.h"
#include "base/num.h"

static const char *const methods[GB_HTTP_METHOD_COUNT] = {
    [GB_HTTP_GET] = "GET",         [GB_HTTP_HEAD] = "HEAD",     [GB_HTTP_POST] = "POST",
    [GB_HTTP_PUT] = "PUT",         [GB_HTTP_DELETE] = "DELETE", [GB_HTTP_PATCH] = "PATCH",
    [GB_HTTP_OPTIONS] = "OPTIONS", [GB_HTTP_OTHER] = "OTHER",
};

enum gb_http_method gb_http_method_of(struct gb_span name) {
    for (unsigned i = 0; i < GB_HTTP_OTHER; i++) {
        if (gb_span_is(name, methods[i])) {
            return (enum gb_http_method)i;
        }
    }
    return GB_HTTP_OTHER;
}

const char *gb_http_method_text(enum gb_http_method method) {
    return (unsigned)method < GB_HTTP_METHOD_COUNT ? methods[method] : "OTHER";
}

const char *gb_http_reason(unsigned status) {
    static const struct {
        unsigned status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {203, "Non-Authoritative Information"},
        {204, "No Content"},
        {205, "Reset Content"},
        {206, "Partial Content"},
        {300, "Multiple Choices"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {418, "I'm a teapot"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    if (status == 200) {
        return reasons[0].reason;
    }
    for (size_t i = 1; i < GB_COUNT(reasons); i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "";
}

static uint8_t lower(uint8_t c) {
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

bool gb_http_name_is(struct gb_span name, const char *lower_text) {
    size_t i = 0;
    for (; i < name.len; i++) {
        if (lower_text[i] == '\0' || lower(name.ptr[i]) != (uint8_t)lower_text[i]) {
            return false;
        }
    }
    return lower_text[i] == '\0';
}

const struct gb_http_field *gb_http_find(const struct gb_http_head *head, const char *name) {
    size_t len = strlen(name);
    for (size_t i = 0; i < head->fields_len; i++) {
        const struct gb_http_field *f = &head->fields[i];
        if (f->name.len == len && memcmp(f->name.ptr, name, len) == 0) {
            return f;
        }
    }
    return NULL;
}

#define NAMED(text) text, sizeof(text) - 1

bool gb_http_field_is_hop_by_hop(struct gb_span name) {
    static const struct {
        const char *name;
        size_t len;
    } names[] = {
        {NAMED("connection")}, {NAMED("keep-alive")}, {NAMED("proxy-connection")},
        {NAMED("te")},         {NAMED("trailer")},    {NAMED("transfer-encoding")},
        {NAMED("upgrade")},    {NAMED("expect")},     {NAMED("http2-settings")},
    };
    for (size_t i = 0; i < GB_COUNT(names); i++) {
        if (name.len == names[i].len && gb_http_name_is(name, names[i].name)) {
            return true;
        }
    }
    return false;
}

static const bool token_bytes[256] = {
    ['0' ... '9'] = true, ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['!'] = true,  ['#'] = true,
    ['$'] = true,         ['%'] = true,         ['&'] = true,         ['\''] = true, ['*'] = true,
    ['+'] = true,         ['-'] = true,         ['.'] = true,         ['^'] = true,  ['_'] = true,
    ['`'] = true,         ['|'] = true,         ['~'] = true,
};

bool gb_http_name_valid(struct gb_span name) {
    for (size_t i = 0; i < name.len; i++) {
        if (!token_bytes[name.ptr[i]]) {
            return false;
        }
    }
    return name.len > 0;
}

/* UTF-8 with the control characters of the upper half (U+0080 to U+009F) left out. */
static bool upper_half_valid(struct gb_span value) {
    for (size_t i = 0; i + 1 < value.len; i++) {
        if (value.ptr[i] == 0xC2 && value.ptr[i + 1] < 0xA0) {
            return false;
        }
    }
    return gb_utf8_valid(value);
}

/* Whether all eight bytes are printable ASCII; says no too often rather than too rarely. */
static bool eight_plain(const uint8_t *at) {
    const uint64_t ones = 0x0101010101010101U;
    const uint64_t tops = 0x8080808080808080U;
    uint64_t x;
    memcpy(&x, at, sizeof x);
    uint64_t delete = x ^ (ones * 0x7F);
    uint64_t low = x - ones * 0x20;
    return ((x | low | ((delete - ones) & ~delete)) & tops) == 0;
}

bool gb_http_value_valid(struct gb_span value) {
    bool ascii = true;
    for (size_t i = 0; i < value.len; i++) {
        while (value.len - i > 8 && eight_plain(value.ptr + i)) {
            i += 8;
        }
        uint8_t c = value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F) {
            return false;
        }
        ascii = ascii && c < 0x80;
    }
    return ascii || upper_half_valid(value);
}

/* Days since 1970 as year, month and day of the proleptic Gregorian calendar: eras of 400 years
 * that begin on the first of March, so that leap days come last. */
static void civil_of_days(int64_t days, int *ret_year, unsigned *ret_month, unsigned *ret_day) {
    days += 719468;
    int64_t era = days / 146097;
    unsigned in_era = (unsigned)(days - era * 146097);
    unsigned year_of_era = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    unsigned in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * in_year + 2) / 153;
    *ret_day = in_year - (153 * month_from_march + 2) / 5 + 1;
    *ret_month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    *ret_year = (int)(year_of_era + (unsigned)era * 400) + (*ret_month <= 2 ? 1 : 0);
}

static void put_digits(char *at, unsigned number, unsigned digits) {
    for (unsigned i = digits; i > 0; i--) {
        at[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
}

void gb_http_date(int64_t unix_seconds, char ret_text[GB_HTTP_DATE_BYTES]) {
    static const char days_of_week[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const int64_t last = 253402300799; /* the end of 9999 */
    int64_t s = unix_seconds < 0 ? 0 : unix_seconds > last ? last : unix_seconds;
    int64_t days = s / 86400;
    unsigned in_day = (unsigned)(s % 86400);
    int year;
    unsigned month, day;
    civil_of_days(days, &year, &month, &day);
    memcpy(ret_text, "Thu, 01 Jan 1970 00:00:00 GMT", GB_HTTP_DATE_BYTES);
    memcpy(ret_text, days_of_week + (days % 7) * 3, 3);
    put_digits(ret_text + 5, day, 2);
    memcpy(ret_text + 8, months + (month - 1) * 3, 3);
    put_digits(ret_text + 12, (unsigned)year, 4);
    put_digits(ret_text + 17, in_day / 3600, 2);
    put_digits(ret_text + 20, in_day / 60 % 60, 2);
    put_digits(ret_text + 23, in_day % 60, 2);
}
