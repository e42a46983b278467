/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling in a child process; what program.c, inspect.c and the cache share of it. */
#ifndef GB_SANDBOX_COMPILE_H
#define GB_SANDBOX_COMPILE_H

#include "sandbox/cache.h"
#include "sandbox/sandbox_internal.h"

/* What one compilation may cost: the sandbox's options and the program's size. */
struct gb_compile_limits {
    uint32_t cpu_s;
    uint64_t as_bytes;
    uint64_t code_bytes_max;
};
struct gb_compile_limits gb_compile_limits_of(const struct gb_sandbox_options *o,
                                              uint64_t program_bytes);

/* Runs glovebox-compiler once. name is for messages. Errors: wasm-invalid, component-invalid,
 * compile-limit, backend-missing (no such program), unsupported (no jail), internal (it crashed).
 */
bool gb_compile_in_child(struct gb_sandbox *s, const char *name, struct gb_span program,
                         const struct gbw_engine_config *config, struct gb_native *ret_code,
                         struct gb_error **err);

#endif
