# SPDX-License-Identifier: Apache-2.0

# gb_wrap_models(<target>): the model of tests/unit/witx_fake_model.h in the place of model/.
function(gb_wrap_models target)
    foreach(name gb_registry_find gb_registry_count gb_model_info gb_mem_copy
            gb_job_submit gb_job_state gb_job_output gb_job_times gb_job_unref)
        target_link_options(${target} PRIVATE "-Wl,--wrap=${name}")
    endforeach()
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests/unit")
endfunction()
