/* SPDX-License-Identifier: Apache-2.0 */
/* What inline.c (running) and inline_load.c (loading, admission) share. */
#ifndef GB_MODEL_INLINE_INTERNAL_H
#define GB_MODEL_INLINE_INTERNAL_H

#include "backend/backend.h"
#include "model/inline.h"
#include "model/worker_internal.h"

struct gb_inline {
    const struct gb_backend *backend;
    struct gb_session *session;
    struct gb_slab *slab; /* private: for large tensors */
};

#endif
