/* SPDX-License-Identifier: Apache-2.0 */
/* The list of engines that this worker knows. The fake one exists in test builds only. */
#include "backend/backend.h"

#include <string.h>

#include "base/num.h"

static const struct gb_backend *const backends[] = {
    &gb_backend_onnx,
#ifdef GLOVEBOX_TEST_WORKER
    &gb_backend_fake,
#endif
};

const struct gb_backend *gb_backend_find(const char *name) {
    for (size_t i = 0; i < GB_COUNT(backends); i++) {
        if (backends[i]->version == GB_BACKEND_VERSION && strcmp(backends[i]->name, name) == 0) {
            return backends[i];
        }
    }
    return NULL;
}
