# SPDX-License-Identifier: Apache-2.0
#
# Native libraries. Those of the system come from its packages; the others were put under
# GLOVEBOX_DEPS_DIR by tools/setup.sh, each by its checksum.
find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto)
find_path(SECCOMP_INCLUDE_DIR seccomp.h REQUIRED)
find_library(SECCOMP_LIBRARY seccomp REQUIRED)

foreach(file yyjson/yyjson.c yyjson/yyjson.h ort/include/onnxruntime_c_api.h
        ort/lib/libonnxruntime.so.1)
    if(NOT EXISTS "${GLOVEBOX_DEPS_DIR}/${file}")
        message(FATAL_ERROR "${GLOVEBOX_DEPS_DIR}/${file} is missing: run tools/setup.sh first")
    endif()
endforeach()

# A program looks for the engine in lib/ beside itself before it looks where it was installed.
file(MAKE_DIRECTORY "${CMAKE_LIBRARY_OUTPUT_DIRECTORY}")
file(CREATE_LINK "${GLOVEBOX_DEPS_DIR}/ort/lib/libonnxruntime.so.1"
    "${CMAKE_LIBRARY_OUTPUT_DIRECTORY}/libonnxruntime.so.1" SYMBOLIC)

target_include_directories(gb_common SYSTEM INTERFACE "${GLOVEBOX_DEPS_DIR}/yyjson")

add_library(gb_host_libs INTERFACE)
target_link_libraries(gb_host_libs INTERFACE OpenSSL::Crypto Threads::Threads ${CMAKE_DL_LIBS} m)

target_include_directories(gb_worker_flags SYSTEM INTERFACE
    "${GLOVEBOX_DEPS_DIR}/ort/include" "${SECCOMP_INCLUDE_DIR}")
add_library(gb_worker_libs INTERFACE)
target_link_libraries(gb_worker_libs INTERFACE
    "${SECCOMP_LIBRARY}" Threads::Threads ${CMAKE_DL_LIBS} m)

# yyjson is compiled as its authors mean it to be: without our warnings; with ASan where we have it,
# but not UBSan, which takes half a minute over this one file.
function(gb_add_yyjson name)
    add_library(${name} OBJECT "${GLOVEBOX_DEPS_DIR}/yyjson/yyjson.c")
    target_link_libraries(${name} PRIVATE gb_hardening gb_sanitize)
    target_compile_options(${name} PRIVATE -w -fno-sanitize=undefined)
endfunction()
