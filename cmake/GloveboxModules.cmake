# SPDX-License-Identifier: Apache-2.0

# gb_glob(<variable> <dir>...): the C files directly in the directories, which may be empty.
function(gb_glob variable)
    set(found "")
    foreach(dir IN LISTS ARGN)
        file(GLOB files CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${dir}/*.c")
        list(APPEND found ${files})
    endforeach()
    set(${variable} "${found}" PARENT_SCOPE)
endfunction()

# gb_add_module(<name> <flags> DIRS <dir>...): an object library, or nothing where there is no file.
function(gb_add_module name flags)
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "DIRS")
    gb_glob(sources ${arg_DIRS})
    if(sources)
        add_library(${name} OBJECT ${sources})
        target_link_libraries(${name} PRIVATE ${flags})
        target_compile_options(${name} PRIVATE -ffunction-sections -fdata-sections)
    endif()
endfunction()
