/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of the error object: texts instead of our enum, which may be renumbered. */
#include "glovebox/glovebox.h"

#include "base/error.h"
#include "glovebox/value.h"
#include "lib/json.h"

const char *gb_error_code(const struct gb_error *e) {
    return gb_code_text(e ? e->code : GB_OK);
}

const char *gb_error_message(const struct gb_error *e) {
    return e && e->message ? e->message : "";
}

const char *gb_error_hint(const struct gb_error *e) {
    return e ? e->hint : NULL;
}

const char *gb_error_value(const struct gb_error *e) {
    return e ? e->value : NULL;
}

const struct gb_error *gb_error_cause(const struct gb_error *e) {
    return e ? e->cause : NULL;
}

int gb_error_exit_status(const struct gb_error *e) {
    return gb_code_exit_status(e ? e->code : GB_OK);
}

bool gb_error_make(struct gb_error **err, const char *code, const char *message) {
    enum gb_code known = gb_code_of_text(code);
    return gb_fail(err, known == GB_OK ? GB_INTERNAL : known, "%s", message);
}

char *gb_error_json(const struct gb_error *e, struct gb_error **err) {
    if (!e) {
        gb_fail(err, GB_INVALID_ARGUMENT, "there is no error to describe");
        return NULL;
    }
    struct gb_json j;
    gb_json_init(&j);
    return gb_json_finish(&j, gb_json_error(&j, e), 0, err);
}
