/* SPDX-License-Identifier: Apache-2.0 */
#include "base/place.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

bool gb_library_directory(char directory[PATH_MAX]) {
    static const char here = 0; /* an object of this library, to ask the loader about */
    char program[PATH_MAX];
    Dl_info info;
    char *slash = NULL;
    if (dladdr(&here, &info) != 0 && info.dli_fname && realpath(info.dli_fname, directory) &&
        realpath("/proc/self/exe", program) && strcmp(program, directory) != 0) {
        slash = strrchr(directory, '/');
    }
    *(slash ? slash : directory) = '\0';
    return slash != NULL;
}
