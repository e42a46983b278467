/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile: writes to stdout for ever, and goes on where a write fails. */
#include <string.h>
#include <unistd.h>

int main(void) {
    static char page[4096];
    memset(page, 'x', sizeof(page) - 1);
    page[sizeof(page) - 1] = '\n';
    for (;;) {
        (void)!write(1, page, sizeof(page));
    }
}
