/* SPDX-License-Identifier: Apache-2.0 */
/* The bridge's failures as our errors: the one place that maps kinds to codes. */
#include "sandbox/sandbox_internal.h"

static enum gb_code code_of(uint32_t kind) {
    switch ((enum gbw_failure_kind)kind) {
    case GBW_INVALID_MODULE:
    case GBW_INVALID_TEXT:
        return GB_WASM_INVALID;
    case GBW_INVALID_COMPONENT:
    case GBW_NO_EXPORT:
        return GB_COMPONENT_INVALID;
    case GBW_LINK:
        return GB_IMPORT_MISSING;
    case GBW_NEEDS_MEMORY64:
        return GB_GRANT_MISSING;
    case GBW_LIMIT_MEMORY:
        return GB_MEMORY_LIMIT;
    case GBW_LIMIT_TABLE:
        return GB_TABLE_LIMIT;
    case GBW_LIMIT_INSTANCES:
        return GB_INSTANCE_LIMIT;
    case GBW_LIMIT_HANDLES:
        return GB_HANDLE_LIMIT;
    case GBW_LIMIT_HOSTCALL:
    case GBW_LIMIT_ANSWER:
    case GBW_LIMIT_FIELDS:
        return GB_HOSTCALL_LIMIT;
    case GBW_POOL_FULL:
        return GB_OVERLOADED;
    case GBW_HTTP_REQUEST:
        return GB_REQUEST_MALFORMED;
    case GBW_TRAP:
    case GBW_HTTP_NO_RESPONSE:
    case GBW_HTTP_UNFINISHED:
        return GB_GUEST_TRAP;
    case GBW_EXIT:
        return GB_GUEST_EXIT;
    case GBW_NONE:
    case GBW_PANIC:
    case GBW_INTERNAL:
    case GBW_CONFIG:
    case GBW_ADDRESS_SPACE:
    case GBW_STOPPED:
        return GB_INTERNAL;
    }
    return GB_INTERNAL;
}

void gb_failure_say(uint32_t kind, struct gb_span message, const char *what,
                    struct gb_error **err) {
    char line[GB_QUOTE_CAP];
    gb_fail(err, code_of(kind), "%s: %s", what, gb_text_quote(message, line));
    if (kind == GBW_NEEDS_MEMORY64) {
        gb_hint(err, "Add --grant memory64 if the program may have a 64-bit memory.");
    } else if (kind == GBW_ADDRESS_SPACE) {
        gb_hint(err, "The address space is short: raise the limit (ulimit -v), or lower --memory.");
    } else if (kind == GBW_POOL_FULL) {
        gb_hint(err, "Too many calls run at once: try again when one has ended.");
    } else if (kind == GBW_LIMIT_MEMORY) {
        gb_hint(err, "Raise the limit with --memory.");
    } else if (kind == GBW_LIMIT_TABLE) {
        gb_hint(err, "Raise the limit with --tables.");
    } else if (kind == GBW_LIMIT_INSTANCES) {
        gb_hint(err, "Raise the limit with --instances.");
    }
}

bool gb_failure_error(struct gbw_failure *f, const char *what, struct gb_error **err) {
    gb_failure_say(f->kind, gb_of_bridge_string(&f->message), what, err);
    if (f->backtrace.ptr && f->backtrace.len > 0) {
        gb_detail(err, "%.2000s", f->backtrace.ptr);
    }
    gbw_failure_fini(f);
    *f = (struct gbw_failure){0};
    return false;
}
