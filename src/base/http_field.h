/* SPDX-License-Identifier: Apache-2.0 */
/* A field of an HTTP head or of trailers, as the sandbox and the codecs pass it on. Borrowed. */
#ifndef GB_BASE_HTTP_FIELD_H
#define GB_BASE_HTTP_FIELD_H

#include "base/span.h"

struct gb_http_field {
    struct gb_span name;  /* lower case in requests */
    struct gb_span value; /* no space around it; may be empty */
};

#endif
