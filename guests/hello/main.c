/* SPDX-License-Identifier: Apache-2.0 */
/* A command: prints its arguments and its environment. "exit N" as arguments exits with N;
 * "stderr TEXT" writes there; "stdin" copies its input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "exit") == 0) {
        return (int)strtol(argv[2], NULL, 10);
    }
    if (argc == 3 && strcmp(argv[1], "stderr") == 0) {
        fprintf(stderr, "%s\n", argv[2]);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "stdin") == 0) {
        for (int c = getchar(); c != EOF; c = getchar()) {
            putchar(c);
        }
        return 0;
    }
    printf("hello\n");
    for (int i = 1; i < argc; i++) {
        printf("arg %d: %s\n", i, argv[i]);
    }
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        printf("env: %s\n", *entry);
    }
    return 0;
}
