# SPDX-License-Identifier: Apache-2.0
#
# Native libraries. Those of the system come from its packages; the others were put under
# GLOVEBOX_DEPS_DIR by tools/setup.sh, each by its checksum.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
# gb_system_library(<prefix> <pkg-config module>>=<version> <Debian package>): an imported target.
function(gb_system_library prefix module package)
    pkg_check_modules(${prefix} QUIET IMPORTED_TARGET "${module}")
    if(NOT ${prefix}_FOUND)
        message(FATAL_ERROR "pkg-config does not find ${module}: install ${package}, or run "
            "tools/setup.sh")
    endif()
endfunction()
gb_system_library(GB_OPENSSL "openssl>=3.0" libssl-dev)
gb_system_library(GB_LIBUV "libuv>=1.44" libuv1-dev)
gb_system_library(GB_SQLITE "sqlite3>=3.37" libsqlite3-dev)
find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto SSL)
find_path(SECCOMP_INCLUDE_DIR seccomp.h REQUIRED)
find_library(SECCOMP_LIBRARY seccomp REQUIRED)

foreach(file yyjson/yyjson.c yyjson/yyjson.h llhttp/llhttp.c llhttp/llhttp.h
        ort/include/onnxruntime_c_api.h ort/lib/libonnxruntime.so.1)
    if(NOT EXISTS "${GLOVEBOX_DEPS_DIR}/${file}")
        message(FATAL_ERROR "${GLOVEBOX_DEPS_DIR}/${file} is missing: run tools/setup.sh first")
    endif()
endforeach()

# A program looks for the engine in lib/ beside itself before it looks where it was installed.
file(MAKE_DIRECTORY "${CMAKE_LIBRARY_OUTPUT_DIRECTORY}")
file(CREATE_LINK "${GLOVEBOX_DEPS_DIR}/ort/lib/libonnxruntime.so.1"
    "${CMAKE_LIBRARY_OUTPUT_DIRECTORY}/libonnxruntime.so.1" SYMBOLIC)

target_include_directories(gb_common SYSTEM INTERFACE "${GLOVEBOX_DEPS_DIR}/yyjson"
    "${GLOVEBOX_DEPS_DIR}/llhttp")

# What the server needs and an embedder's shared library does not: --as-needed leaves it out there.
add_library(gb_server_libs INTERFACE)
target_link_libraries(gb_server_libs INTERFACE PkgConfig::GB_LIBUV PkgConfig::GB_SQLITE
    OpenSSL::SSL)

add_library(gb_host_libs INTERFACE)
target_link_libraries(gb_host_libs INTERFACE gb_server_libs OpenSSL::Crypto Threads::Threads
    ${CMAKE_DL_LIBS} m)

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

# llhttp: generated code, without our warnings and without UBSan, for the same reason.
function(gb_add_llhttp name)
    set(dir "${GLOVEBOX_DEPS_DIR}/llhttp")
    add_library(${name} OBJECT "${dir}/api.c" "${dir}/http.c" "${dir}/llhttp.c")
    target_link_libraries(${name} PRIVATE gb_hardening gb_sanitize)
    target_compile_options(${name} PRIVATE -w -fno-sanitize=undefined)
    target_include_directories(${name} PRIVATE "${dir}")
endfunction()
