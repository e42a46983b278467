# SPDX-License-Identifier: Apache-2.0
#
# Compiler and linker flags, as interface libraries, so that the worker can do without the
# sanitizers and third-party C without our warnings.
include(CheckCCompilerFlag)
include(CheckPIESupported)

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# -DNDEBUG is left out on purpose: cheap invariants stay on in release.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g -fno-omit-frame-pointer")
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
endif()
check_pie_supported(LANGUAGES C)

# Without a preset the outputs lie in the build directory itself.
if(NOT CMAKE_RUNTIME_OUTPUT_DIRECTORY)
    set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
endif()
if(NOT CMAKE_ARCHIVE_OUTPUT_DIRECTORY)
    set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/lib")
endif()
if(NOT CMAKE_LIBRARY_OUTPUT_DIRECTORY)
    set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/lib")
endif()

add_library(gb_warnings INTERFACE)
target_compile_options(gb_warnings INTERFACE
    -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes
    -Wvla -Wformat=2 -Wundef -Wwrite-strings -Wcast-qual -Wswitch-enum
    $<$<BOOL:${GLOVEBOX_WERROR}>:-Werror>)

add_library(gb_common INTERFACE)
target_compile_definitions(gb_common INTERFACE
    _GNU_SOURCE
    GB_VERSION="${PROJECT_VERSION}"
    GB_INSTALL_BINDIR="${CMAKE_INSTALL_FULL_BINDIR}"
    GB_INSTALL_LIBDIR="${CMAKE_INSTALL_FULL_LIBDIR}/glovebox"
    GB_INSTALL_LIBEXECDIR="${CMAKE_INSTALL_FULL_LIBEXECDIR}/glovebox")
target_include_directories(gb_common INTERFACE
    "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/bridge/host")

# What a release is hardened with, as far as this compiler and this machine know it.
add_library(gb_hardening INTERFACE)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
    foreach(flag -fstack-protector-strong -fstack-clash-protection -fcf-protection
                 -ftrivial-auto-var-init=zero)
        string(MAKE_C_IDENTIFIER "GB_HAVE${flag}" have)
        check_c_compiler_flag("${flag}" ${have})
        if(${have})
            target_compile_options(gb_hardening INTERFACE "${flag}")
        endif()
    endforeach()
    target_compile_options(gb_hardening INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
endif()

add_library(gb_sanitize INTERFACE)
if(GLOVEBOX_SANITIZE)
    target_compile_options(gb_sanitize INTERFACE
        "-fsanitize=${GLOVEBOX_SANITIZE}" -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(gb_sanitize INTERFACE "-fsanitize=${GLOVEBOX_SANITIZE}")
endif()

add_library(gb_host_flags INTERFACE)
target_link_libraries(gb_host_flags INTERFACE gb_common gb_warnings gb_hardening gb_sanitize)
add_library(gb_worker_flags INTERFACE)
target_link_libraries(gb_worker_flags INTERFACE gb_common gb_warnings gb_hardening)

# The bridge is a large archive: lld links it several times faster than the default linker.
find_program(GLOVEBOX_LLD NAMES ld.lld)
function(gb_link_hardened target)
    if(GLOVEBOX_LLD)
        target_link_options(${target} PRIVATE -fuse-ld=lld)
    endif()
    target_link_options(${target} PRIVATE LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack
        LINKER:--gc-sections LINKER:--as-needed)
endfunction()
