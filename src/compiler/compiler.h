/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a host and its glovebox-compiler say to each other: two memory files and nothing else.
 * Fd 3, sealed: a request, then the program's bytes. Fd 4, of a size the host chose: the compiled
 * code from its first byte, and a report in its last GB_COMPILER_REPORT_BYTES.
 * Both sides are of one build; the magic number says so.
 */
#ifndef GB_COMPILER_COMPILER_H
#define GB_COMPILER_COMPILER_H

#include "gb_wasm.h"

#define GB_COMPILER_PROGRAM "glovebox-compiler"
#define GB_COMPILER_MAGIC 0x31434247u
enum { GB_COMPILER_FD_IN = 3, GB_COMPILER_FD_OUT = 4 };

struct gb_compiler_request {
    uint32_t magic;
    bool jail_best_effort;
    uint32_t cpu_s;       /* RLIMIT_CPU */
    int32_t parent;       /* its pid: a compiler does not outlive it */
    uint64_t as_bytes;    /* RLIMIT_AS */
    uint64_t program_len; /* bytes behind the request */
    uint64_t out_bytes;   /* size of fd 4 */
    struct gbw_engine_config config;
};

/* Beside enum gbw_failure_kind. */
enum {
    GB_COMPILER_NO_JAIL = 1000, /* a wall could not be set */
    GB_COMPILER_CODE_TOO_LARGE
};

/* Its exit status where it could not even map its files, and so not report. */
enum { GB_COMPILER_EXIT_MAP = 4 };

#define GB_COMPILER_MESSAGE_MAX 2048u
#define GB_COMPILER_REPORT_BYTES 4096u
struct gb_compiler_report {
    uint32_t magic;
    uint32_t failure; /* GBW_NONE: there is code */
    uint64_t code_len;
    uint32_t is_component;
    uint32_t message_len;
    char message[GB_COMPILER_MESSAGE_MAX];
};

#endif
