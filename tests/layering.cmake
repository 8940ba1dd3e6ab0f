# Checks what the build's include folders do not: that a layer's sources name its own internals
# ("tensor/...", "data/...") only where they may, and public headers by their public names.
#   tensor <- autograd <- {nn, optim},  tensor <- data,  apps see all public headers.
# Run as: cmake -DSOURCE_DIR=<root> -P tests/layering.cmake
cmake_minimum_required(VERSION 3.22)

# By folder: the layers whose public headers it may name, and those whose internals.
set(tensor_public tensor)
set(tensor_internal tensor)
set(autograd_public tensor autograd)
set(autograd_internal "")
set(nn_public tensor autograd nn)
set(nn_internal "")
set(optim_public tensor autograd optim)
set(optim_internal tensor optim)
set(data_public tensor data)
set(data_internal tensor data)
set(apps_public tensor autograd nn optim data)
set(apps_internal bench common vicreg tensor/cuda tensor/backend)  # its own folders, and the GPU's counters

set(violations "")
set(checked 0)
foreach(folder tensor autograd nn optim data apps)
  file(GLOB_RECURSE files ${SOURCE_DIR}/${folder}/*.h ${SOURCE_DIR}/${folder}/*.cpp
       ${SOURCE_DIR}/${folder}/*.inc ${SOURCE_DIR}/${folder}/*.cu ${SOURCE_DIR}/${folder}/*.cuh)
  foreach(file ${files})
    file(RELATIVE_PATH name ${SOURCE_DIR} ${file})
    get_filename_component(beside ${file} DIRECTORY)
    file(STRINGS ${file} includes REGEX "^[ \t]*#[ \t]*include[ \t]*(\"|<gradus/)")
    foreach(line ${includes})
      math(EXPR checked "${checked} + 1")
      if(line MATCHES "<gradus/([a-z]+)/")
        if(CMAKE_MATCH_1 IN_LIST ${folder}_public)
          continue()
        endif()
      elseif(line MATCHES "\"([a-z_]+)/([^\"]*)\"")
        set(room ${CMAKE_MATCH_1})
        set(rest ${CMAKE_MATCH_2})
        if(EXISTS ${beside}/${room}/${rest})
          continue()  # in a folder beside this file
        endif()
        set(is_public FALSE)  # named as internal, though it is a public header
        if(rest MATCHES "^(io/)?[a-z0-9_]+\\.h$" AND NOT folder STREQUAL "apps")
          set(is_public TRUE)
        endif()
        string(REGEX REPLACE "^([^/]*)/.*" "\\1" subroom "${rest}")
        if(NOT is_public AND (room IN_LIST ${folder}_internal OR ${room}/${subroom} IN_LIST ${folder}_internal))
          continue()
        endif()
      elseif(NOT line MATCHES "\"\\.\\./")
        continue()  # a file beside this one
      endif()
      list(APPEND violations "${name}: ${line}")
    endforeach()
  endforeach()
endforeach()

if(checked EQUAL 0)
  message(FATAL_ERROR "no includes found under '${SOURCE_DIR}'")
endif()
if(violations)
  list(JOIN violations "\n  " text)
  message(FATAL_ERROR "includes against the layers (or not from the root):\n  ${text}")
endif()
message(STATUS "${checked} includes obey the layers")
