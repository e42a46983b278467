# SPDX-License-Identifier: Apache-2.0
#
# The Rust bridge: one archive, in release form, for every preset (the presets share
# build/bridge; cargo's own lock makes a second build wait).
find_program(CARGO cargo REQUIRED HINTS "$ENV{HOME}/.cargo/bin")
set(GLOVEBOX_BRIDGE_DIR "${PROJECT_SOURCE_DIR}/build/bridge" CACHE PATH "Cargo's target directory")
set(bridge_archive "${GLOVEBOX_BRIDGE_DIR}/release/libglovebox_bridge_host.a")

file(GLOB_RECURSE bridge_sources CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/bridge/host/src/*.rs" "${PROJECT_SOURCE_DIR}/bridge/host/build.rs"
    "${PROJECT_SOURCE_DIR}/bridge/host/wit/*.wit")
list(APPEND bridge_sources "${PROJECT_SOURCE_DIR}/bridge/Cargo.toml"
    "${PROJECT_SOURCE_DIR}/bridge/Cargo.lock" "${PROJECT_SOURCE_DIR}/bridge/host/Cargo.toml")

# "touch", because cargo leaves the archive alone when a change did not matter to it.
add_custom_command(OUTPUT "${bridge_archive}"
    COMMAND "${CMAKE_COMMAND}" -E env "CARGO_TARGET_DIR=${GLOVEBOX_BRIDGE_DIR}"
        "${CARGO}" build --release --locked
        --manifest-path "${PROJECT_SOURCE_DIR}/bridge/Cargo.toml"
    COMMAND "${CMAKE_COMMAND}" -E touch "${bridge_archive}"
    DEPENDS ${bridge_sources}
    COMMENT "Rust bridge (the first time: 5 to 10 minutes)"
    USES_TERMINAL VERBATIM)
add_custom_target(bridge DEPENDS "${bridge_archive}")

add_library(gb_bridge INTERFACE)
add_dependencies(gb_bridge bridge)
target_link_libraries(gb_bridge INTERFACE "${bridge_archive}" gcc_s Threads::Threads
    ${CMAKE_DL_LIBS} m)
