# A CUDA toolkit that is too old gives a CPU build and a line that says why, or an error where CUDA was
# asked for. usage: cmake -DSOURCE_DIR=... -DBINARY_DIR=... -DGENERATOR=... -P old_nvcc.cmake
set(nvcc ${BINARY_DIR}/bin/nvcc)
file(WRITE ${nvcc} "#!/bin/sh\necho 'Cuda compilation tools, release 11.8, V11.8.89'\n")
file(CHMOD ${nvcc} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
set(ENV{CUDACXX} ${nvcc})
set(line "${nvcc} is of CUDA 11.8, and CUDA 12 or newer is needed")
foreach(mode AUTO ON)
  file(REMOVE_RECURSE ${BINARY_DIR}/build)
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE_DIR} -B ${BINARY_DIR}/build -G ${GENERATOR}
                          -DGRADUS_CUDA=${mode} -DGRADUS_EMULATOR=OFF
                  OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE code)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")  # CMake wraps its errors
  string(FIND "${output}" "${line}" found)
  if(found EQUAL -1)
    message(FATAL_ERROR "GRADUS_CUDA=${mode} did not say: ${line}\n${output}")
  endif()
  set(works FALSE)
  if(code EQUAL 0)
    set(works TRUE)
  endif()
  if((mode STREQUAL "AUTO" AND NOT works) OR (mode STREQUAL "ON" AND works))
    message(FATAL_ERROR "GRADUS_CUDA=${mode} ended with ${code}\n${output}")
  endif()
endforeach()
