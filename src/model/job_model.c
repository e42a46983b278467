/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of memory and jobs: a model's worker stands in for the model. Threads: any. */
#include "model/model.h"
#include "model/worker.h"

struct gb_mem *gb_mem_copy(struct gb_model *m, struct gb_span bytes, struct gb_account *account,
                           struct gb_error **err) {
    return gb_worker_mem_copy(m ? gb_model_worker(m) : NULL, bytes, account, err);
}

struct gb_job *gb_job_submit(struct gb_model *m, const struct gb_job_spec *spec,
                             struct gb_error **err) {
    struct gb_worker *w = gb_model_worker(m);
    if (w) {
        return gb_worker_job_submit(w, spec, err);
    }
    const struct gb_model_info *info = gb_model_info(m);
    if (info->reason) {
        gb_error_move(err, gb_error_copy(info->reason));
    } else {
        gb_fail(err, GB_BACKEND_LOST, "model \"%s\" has no running worker", info->name);
    }
    return NULL;
}
