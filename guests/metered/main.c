/* SPDX-License-Identifier: Apache-2.0 */
/* Counts its calls and measures its argument with an interface of the embedder's own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"

static agent_string_t text(const char *literal) {
    agent_string_t s;
    agent_string_set(&s, literal);
    return s;
}

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    agent_string_t requests = text("requests");
    agent_string_t bytes = text("bytes");
    acme_metrics_metrics_counter(&requests, 1);
    acme_metrics_metrics_counter(&requests, 2);
    acme_metrics_metrics_gauge(&bytes, (double)arg->len);
    acme_metrics_metrics_reading_t reading;
    if (!acme_metrics_metrics_read(arg->len ? arg : &requests, &reading, err)) {
        return false;
    }
    char line[100];
    snprintf(line, sizeof line, "%.*s %llu %s", (int)reading.name.len,
             (const char *)reading.name.ptr, (unsigned long long)reading.total,
             reading.last.is_some ? "measured" : "counted");
    agent_string_dup(ret, line);
    acme_metrics_metrics_reading_free(&reading);
    return true;
}
