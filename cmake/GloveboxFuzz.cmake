# SPDX-License-Identifier: Apache-2.0
#
# One libFuzzer program per tests/fuzz/*_fuzz.c, against the instrumented modules.
# tools/run-fuzz.sh runs them.
if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "the fuzz preset needs clang (libFuzzer)")
endif()

include(GloveboxWrap)
file(GLOB fuzz_targets CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/*_fuzz.c")
foreach(source IN LISTS fuzz_targets)
    get_filename_component(name "${source}" NAME_WE)
    add_executable(${name} "${source}")
    set_target_properties(${name} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
    # libFuzzer's entry has no prototype to include.
    target_compile_options(${name} PRIVATE -Wno-missing-prototypes)
    target_link_libraries(${name} PRIVATE gb_host_flags)
    if(name MATCHES "^(worker|backend)_" AND TARGET gb_worker_side)
        target_link_libraries(${name} PRIVATE gb_worker_flags gb_worker_side)
    endif()
    target_link_libraries(${name} PRIVATE glovebox_static)
    if(name STREQUAL witx_fuzz)
        gb_wrap_models(${name})
    endif()
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    gb_link_hardened(${name})
endforeach()
