/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files and small system helpers. Every failure names the quoted path. Threads: any. */
#ifndef GB_BASE_FILE_H
#define GB_BASE_FILE_H

#include "base/alloc.h"
#include "base/span.h"

/* Reads a whole regular file of at most bytes_max into fresh memory (gb_free). A larger file fails
 * with too_large. A missing one is GB_NOT_FOUND, an unreadable one GB_PERMISSION_DENIED. */
bool gb_file_read(const char *path, size_t bytes_max, enum gb_code too_large, uint8_t **ret_bytes,
                  size_t *ret_len, struct gb_error **err);
/* Reads fd to its end, the same way. `what` names it in messages. */
bool gb_fd_read_all(int fd, const char *what, size_t bytes_max, enum gb_code too_large,
                    uint8_t **ret_bytes, size_t *ret_len, struct gb_error **err);
/* A memfd of that name, close-on-exec, sealable. -1 on failure. */
int gb_memfd_new(const char *name, struct gb_error **err);
/* Opens for reading without following a final symlink. -1 on failure, *err set. */
int gb_file_open(const char *path, struct gb_error **err);
void gb_fd_close(int *fd);
/* Moves *fd to a number of at least `lowest`, close-on-exec: the source of a descriptor that a
 * child gets under a fixed number must lie above those. False with errno set. */
bool gb_fd_raise(int *fd, int lowest);
bool gb_write_all(int fd, const void *bytes, size_t len, struct gb_error **err);

#endif
