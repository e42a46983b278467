/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a helper program of ours is: an explicit path wins and is never second-guessed, then the
 * environment, then places relative to this executable (a build tree, an unpacked archive), then
 * the install path. Threads: any that may read the environment.
 */
#ifndef GB_BASE_LOCATE_H
#define GB_BASE_LOCATE_H

#include "base/error.h"

struct gb_locate {
    const char *program;     /* "glovebox-worker" */
    const char *role;        /* "worker", for messages */
    const char *named;       /* an option's value; NULL */
    const char *variable;    /* "GLOVEBOX_WORKER" */
    const char *hint;
};
/* An absolute path (gb_free); NULL: backend-missing, naming every place that was looked in. */
char *gb_locate_program(const struct gb_locate *what, struct gb_error **err);

#endif
