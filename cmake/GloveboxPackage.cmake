# SPDX-License-Identifier: Apache-2.0
#
# How others find the installed library: glovebox.pc and find_package(glovebox). Both name every
# path relative to themselves, so that the tree may be moved or installed with another prefix.
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/glovebox")
file(RELATIVE_PATH pc_prefix "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
configure_file(cmake/glovebox.pc.in "${CMAKE_BINARY_DIR}/glovebox.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/glovebox.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

configure_package_config_file(cmake/gloveboxConfig.cmake.in
    "${CMAKE_BINARY_DIR}/gloveboxConfig.cmake" INSTALL_DESTINATION "${package_dir}"
    PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/gloveboxConfigVersion.cmake"
    VERSION "${PROJECT_VERSION}" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/gloveboxConfig.cmake"
    "${CMAKE_BINARY_DIR}/gloveboxConfigVersion.cmake" DESTINATION "${package_dir}")
