/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where this code lies, for finding what was installed with it: an embedder's program is in one
 * tree, the shared library with its helpers in another. Threads: any.
 */
#ifndef GB_BASE_PLACE_H
#define GB_BASE_PLACE_H

#include <limits.h>
#include <stdbool.h>

/* The directory of the shared library that holds this function, without the slash at the end; false
 * (and "") when it is linked into the program itself. */
bool gb_library_directory(char directory[PATH_MAX]);

#endif
