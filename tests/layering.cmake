# Checks that includes obey the layers:
#   tensor <- autograd <- {nn, optim},  tensor <- data,  apps see all.
# Run as: cmake -DSOURCE_DIR=<root> -P tests/layering.cmake
cmake_minimum_required(VERSION 3.22)

set(tensor_sees tensor)
set(autograd_sees autograd tensor)
set(nn_sees nn autograd tensor)
set(optim_sees optim autograd tensor)
set(data_sees data tensor)
set(apps_sees apps data optim nn autograd tensor)

set(violations "")
set(checked 0)
foreach(folder tensor autograd nn optim data apps)
  file(GLOB_RECURSE files ${SOURCE_DIR}/${folder}/*.h ${SOURCE_DIR}/${folder}/*.cpp
       ${SOURCE_DIR}/${folder}/*.inc ${SOURCE_DIR}/${folder}/*.cu ${SOURCE_DIR}/${folder}/*.cuh)
  foreach(file ${files})
    file(STRINGS ${file} includes REGEX "^[ \t]*#[ \t]*include[ \t]*\"")
    foreach(line ${includes})
      math(EXPR checked "${checked} + 1")
      string(REGEX REPLACE "^[^\"]*\"([^\"/]*)/?[^\"]*\".*" "\\1" target "${line}")
      if(NOT target IN_LIST ${folder}_sees)
        file(RELATIVE_PATH name ${SOURCE_DIR} ${file})
        list(APPEND violations "${name}: ${line}")
      endif()
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
