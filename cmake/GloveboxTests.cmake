# SPDX-License-Identifier: Apache-2.0
#
# One executable per tests/unit/*_test.c, linked with libglovebox.a and the bridge; a name that
# begins with worker_ or backend_ also gets the worker's side (all but its main), compiled with
# this preset's flags. With a subset of modules, only the tests named after these modules are built.
include(GloveboxWrap)
find_path(CMOCKA_INCLUDE_DIR cmocka.h REQUIRED)
find_library(CMOCKA_LIBRARY cmocka REQUIRED)

function(gb_test_module source variable)
    get_filename_component(name "${source}" NAME_WE)
    string(REGEX REPLACE "_.*" "" module "${name}")
    set(${variable} "${module}" PARENT_SCOPE)
endfunction()

function(gb_add_test source)
    get_filename_component(name "${source}" NAME_WE)
    gb_test_module("${source}" module)
    add_executable(${name} "${source}")
    set_target_properties(${name} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
    target_include_directories(${name} SYSTEM PRIVATE "${CMOCKA_INCLUDE_DIR}")
    target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/unit")
    target_compile_definitions(${name} PRIVATE
        GB_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}" GB_TEST_BINARY_DIR="${CMAKE_BINARY_DIR}")
    target_link_libraries(${name} PRIVATE gb_host_flags)
    if(module MATCHES "^(worker|backend)$" AND TARGET gb_worker_side)
        target_link_libraries(${name} PRIVATE gb_worker_flags gb_worker_side)
        target_compile_definitions(${name} PRIVATE GLOVEBOX_TEST_WORKER)
    endif()
    target_link_libraries(${name} PRIVATE glovebox_static "${CMOCKA_LIBRARY}")
    if(name STREQUAL sandbox_witx_test)
        gb_wrap_models(${name})
    endif()
    gb_link_hardened(${name})
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
    set(environment
        "GLOVEBOX_ORT_LIB=${GLOVEBOX_DEPS_DIR}/ort/lib/libonnxruntime.so.1"
        "ORT_DISABLE_TELEMETRY=1"
        "UBSAN_OPTIONS=print_stacktrace=1")
    if(TARGET glovebox-worker)
        list(APPEND environment "GLOVEBOX_WORKER=$<TARGET_FILE:glovebox-worker>")
        list(APPEND environment "GLOVEBOX_WORKER_TEST=$<TARGET_FILE:glovebox-worker-test>")
        add_dependencies(${name} glovebox-worker glovebox-worker-test)
    endif()
    if(TARGET glovebox-compiler)
        list(APPEND environment "GLOVEBOX_COMPILER=$<TARGET_FILE:glovebox-compiler>")
        add_dependencies(${name} glovebox-compiler)
    endif()
    set_tests_properties(${name} PROPERTIES TIMEOUT 120 SKIP_RETURN_CODE 77
        ENVIRONMENT "${environment}")
endfunction()

file(GLOB unit_tests CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/unit/*_test.c")
foreach(source IN LISTS unit_tests)
    gb_test_module("${source}" module)
    if(whole OR module IN_LIST GLOVEBOX_MODULES)
        gb_add_test("${source}")
    endif()
endforeach()

# The seeds of each fuzz target (tests/fuzz/seeds/X for X_fuzz.c), once each, without libFuzzer.
file(GLOB fuzz_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/*_fuzz.c")
foreach(source IN LISTS fuzz_sources)
    get_filename_component(name "${source}" NAME_WE)
    string(REPLACE "_fuzz" "" subject "${name}")
    file(GLOB seeds CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/seeds/${subject}/*")
    if(whole AND seeds)
        add_executable(${subject}_replay "${source}")
        set_target_properties(${subject}_replay PROPERTIES
            RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
        target_compile_definitions(${subject}_replay PRIVATE GB_FUZZ_REPLAY)
        target_link_libraries(${subject}_replay PRIVATE gb_host_flags)
        if(subject MATCHES "^worker_")
            target_link_libraries(${subject}_replay PRIVATE gb_worker_flags gb_worker_side)
        endif()
        target_link_libraries(${subject}_replay PRIVATE glovebox_static)
        if(subject STREQUAL witx)
            gb_wrap_models(${subject}_replay)
        endif()
        gb_link_hardened(${subject}_replay)
        add_test(NAME ${subject}_replay COMMAND ${subject}_replay ${seeds})
        set_tests_properties(${subject}_replay PROPERTIES TIMEOUT 120)
    endif()
endforeach()

# One agent run with every fault in turn (tests/fault/sweep.c); in short, each n-th.
if(whole)
    add_executable(fault_sweep "${PROJECT_SOURCE_DIR}/tests/fault/sweep.c"
        "${PROJECT_SOURCE_DIR}/tests/fault/scenario.c")
    set_target_properties(fault_sweep PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
    target_compile_definitions(fault_sweep PRIVATE GB_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    target_link_libraries(fault_sweep PRIVATE gb_host_flags glovebox_static)
    gb_link_hardened(fault_sweep)
    add_dependencies(fault_sweep glovebox-worker glovebox-worker-test glovebox-compiler
        glovebox-compiler-test)
    foreach(point "echo alloc 9" "echo alloc+ 9" "echo sys 1" "echo sys+ 3" "echo random+ 1"
            "cold alloc 5" "cold alloc+ 5" "cold sys 2" "cold sys+ 3" "cold sync+ 1"
            "cold mkdir+ 1" "cold rename+ 1" "cold compiler-sys 3" "cold compiler-sys+ 5"
            "cold compiler-alloc 1" "ahead alloc 7" "ahead sys 2" "ahead rename 1"
            "digits alloc 29" "digits alloc+ 29" "digits sys 4" "digits sys+ 5"
            "digits worker-alloc 3" "digits worker-alloc+ 3" "digits worker-sys 4"
            "digits worker-sys+ 5" "store sys 61" "store sys+ 97" "store sync 1" "store rename 1"
            "store open 4" "stored sys 61" "stored stat 4"
            "load alloc 31" "load alloc+ 31" "load sys 4" "load sys+ 5" "load thread 1"
            "load worker-sys 7" "load worker-alloc 5")
        string(REPLACE " " ";" words "${point}")
        list(GET words 0 scenario)
        list(GET words 1 fault)
        set(name "fault_sweep_${scenario}_${fault}")
        add_test(NAME "${name}" COMMAND fault_sweep ${words}
            WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
        set(environment "GLOVEBOX_ORT_LIB=${GLOVEBOX_DEPS_DIR}/ort/lib/libonnxruntime.so.1"
            "ORT_DISABLE_TELEMETRY=1" "UBSAN_OPTIONS=print_stacktrace=1"
            "GLOVEBOX_WORKER=$<TARGET_FILE:glovebox-worker>"
            "GLOVEBOX_WORKER_TEST=$<TARGET_FILE:glovebox-worker-test>"
            "GLOVEBOX_COMPILER=$<TARGET_FILE:glovebox-compiler>"
            "GLOVEBOX_COMPILER_TEST=$<TARGET_FILE:glovebox-compiler-test>")
        set_tests_properties("${name}" PROPERTIES TIMEOUT 3600 SKIP_RETURN_CODE 77
            ENVIRONMENT "${environment}")
    endforeach()
endif()
