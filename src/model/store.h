/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store of large models: <cache>/models/sha256/<hex>, written by us alone. A sealed memory file
 * would hold the weights in memory twice; a stored file is mapped, and shared with the page cache.
 *
 * A file gets there by copy, digest, fsync, mode 0400 and rename, so a name is either absent or
 * whole. What lies there already is read and hashed again each time it is asked for: times and
 * numbers of an inode can be set back by whoever may write it, bytes cannot. The descriptor that
 * was hashed is the one that is used.
 * Threads: any; processes too. Ownership: the caller closes the descriptor. Nothing is ever removed
 * but what is damaged or was refused. Errors: GB_IO, GB_PERMISSION_DENIED, GB_NOT_FOUND.
 */
#ifndef GB_MODEL_STORE_H
#define GB_MODEL_STORE_H

#include "model/model_internal.h"

struct gb_store_file {
    int fd; /* read-only */
    uint64_t bytes;
    char digest[GB_DIGEST_TEXT_BYTES];
    bool created; /* it was not there before */
};
/* cache_dir NULL: $GLOVEBOX_CACHE, $XDG_CACHE_HOME/glovebox, ~/.cache/glovebox. source: an open
 * regular file of that many bytes. */
bool gb_store_import(const char *cache_dir, int source, uint64_t bytes,
                     struct gb_store_file *ret_file, struct gb_error **err);
/* Takes a file out again, of a model that was refused. */
void gb_store_forget(const char *cache_dir, const char *digest);

#endif
