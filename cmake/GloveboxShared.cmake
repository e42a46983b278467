# SPDX-License-Identifier: Apache-2.0
#
# libglovebox.so.0: the host's side and the bridge, with the symbols of src/lib/symbols.txt and no
# others. Not with sanitizers: their runtime belongs into a program, and nobody embeds such a build.
set(symbols_file "${PROJECT_SOURCE_DIR}/src/lib/symbols.txt")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${symbols_file}")
file(STRINGS "${symbols_file}" symbols REGEX "^gb_[a-z0-9_]+$")
list(JOIN symbols ";\n        " symbols_text)
set(version_script "${CMAKE_BINARY_DIR}/libglovebox.map")
file(CONFIGURE OUTPUT "${version_script}" @ONLY CONTENT
"GLOVEBOX_0 {
    global:
        @symbols_text@;
    local:
        *;
};
")

add_library(glovebox_shared SHARED ${host_objects})
set_target_properties(glovebox_shared PROPERTIES OUTPUT_NAME glovebox LINKER_LANGUAGE C
    VERSION "${PROJECT_VERSION}" SOVERSION 0 LINK_DEPENDS "${version_script}")
target_include_directories(glovebox_shared INTERFACE "${PROJECT_SOURCE_DIR}/include")
target_link_libraries(glovebox_shared PRIVATE gb_bridge gb_host_libs)
gb_link_hardened(glovebox_shared)
# Wasmtime's signal handlers and our threads outlive a dlclose.
target_link_options(glovebox_shared PRIVATE "LINKER:--version-script=${version_script}"
    LINKER:--exclude-libs,ALL LINKER:-z,defs LINKER:-z,nodelete)
install(TARGETS glovebox_shared LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
