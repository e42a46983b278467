/* SPDX-License-Identifier: Apache-2.0 */
/* A command: "cat FILE" prints a file; "cat -w FILE TEXT" writes one. What it can open, the host's
 * preopened directories decide. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *verb, const char *path) {
    fprintf(stderr, "cat: cannot %s %s: %s\n", verb, path, strerror(errno));
    return 1;
}

static int print_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return failed("open", path);
    }
    static char bytes[4096];
    for (size_t n = fread(bytes, 1, sizeof(bytes), file); n > 0;
         n = fread(bytes, 1, sizeof(bytes), file)) {
        fwrite(bytes, 1, n, stdout);
    }
    int status = ferror(file) ? failed("read", path) : 0;
    fclose(file);
    return status;
}

static int write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return failed("open", path);
    }
    fputs(text, file);
    return fclose(file) == 0 ? 0 : failed("write", path);
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "-w") == 0) {
        return write_file(argv[2], argv[3]);
    }
    if (argc == 2) {
        return print_file(argv[1]);
    }
    fprintf(stderr, "usage: cat FILE | cat -w FILE TEXT\n");
    return 2;
}
