# The real CUDA back end: finds nvcc and compiles the .cu files with it.

# Builds without it, or stops where GRADUS_CUDA asks for it. A macro: it ends this file.
macro(gradus_no_cuda reason)
  if(NOT GRADUS_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "GRADUS_CUDA is ${GRADUS_CUDA}, but ${reason}")
  endif()
  set(GRADUS_CUDA OFF)
  message(STATUS "Built without the CUDA back end: ${reason}")
  return()
endmacro()

# nvcc: the one that is named (CMAKE_CUDA_COMPILER, CUDACXX), on the PATH, or where toolkits lie.
if(NOT "$ENV{CUDACXX}" STREQUAL "")
  set(GRADUS_NVCC $ENV{CUDACXX} CACHE FILEPATH "The CUDA compiler")
endif()
find_program(GRADUS_NVCC nvcc PATHS ENV CUDA_HOME /usr/local/cuda PATH_SUFFIXES bin
             DOC "The CUDA compiler")
set(nvcc ${GRADUS_NVCC})
if(CMAKE_CUDA_COMPILER)
  set(nvcc ${CMAKE_CUDA_COMPILER})
endif()
if(NOT nvcc)
  gradus_no_cuda("no nvcc was found; put it on the PATH, or set CUDA_HOME")
endif()
execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE nvcc_text ERROR_QUIET)
if(NOT nvcc_text MATCHES "release ([0-9]+\\.[0-9]+)")
  gradus_no_cuda("${nvcc} does not tell its version")
endif()
set(nvcc_version ${CMAKE_MATCH_1})
if(nvcc_version VERSION_LESS 12)
  gradus_no_cuda("${nvcc} is of CUDA ${nvcc_version}, and CUDA 12 or newer is needed")
endif()
set(ENV{CUDACXX} ${nvcc})
if(NOT CMAKE_CUDA_COMPILER)
  unset(CMAKE_CUDA_COMPILER CACHE)  # where the check failed before: it is made again
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  gradus_no_cuda("${nvcc} (CUDA ${nvcc_version}) does not work with this host compiler")
endif()
set(GRADUS_CUDA ON)

# The GPU of this machine, or every generation since Turing (7.5) that the toolkit knows: machine
# code for each (8.6 and 8.9 run that of 8.0), and PTX of some, which a driver translates for newer
# ones that are not listed. 90a is 9.0 with all of its instructions (warpgroup.h).
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  execute_process(COMMAND nvidia-smi -L OUTPUT_VARIABLE gpus RESULT_VARIABLE failed ERROR_QUIET)
  if(failed EQUAL 0 AND gpus MATCHES "GPU 0" AND CMAKE_VERSION VERSION_GREATER_EQUAL 3.24)
    set(CMAKE_CUDA_ARCHITECTURES native)
    execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
                    OUTPUT_VARIABLE capabilities ERROR_QUIET)
    if(capabilities MATCHES "^9\\.0")
      set(CMAKE_CUDA_ARCHITECTURES 90a-real)
    endif()
  else()
    set(CMAKE_CUDA_ARCHITECTURES 75 80-real 90a-real 90-virtual)
    if(nvcc_version VERSION_GREATER_EQUAL 12.8)
      set(CMAKE_CUDA_ARCHITECTURES 75 80-real 90a-real 100 120)
    endif()
  endif()
endif()
if(GRADUS_CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${GRADUS_CCACHE})
endif()
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 20)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
find_package(CUDAToolkit REQUIRED)
# As nvcc links it, so that a program holds one copy: CMAKE_CUDA_RUNTIME_LIBRARY.
set(GRADUS_CUDART CUDA::cudart_static)
if(CMAKE_CUDA_RUNTIME_LIBRARY STREQUAL "Shared")
  set(GRADUS_CUDART CUDA::cudart)
endif()
message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION}, for ${CMAKE_CUDA_ARCHITECTURES}")

# Adds the CUDA sources to the libraries of their folders.
function(gradus_add_cuda)
  set(options --expt-relaxed-constexpr
              "-Xcompiler=-Wall,-Wextra,-Wshadow,-fmacro-prefix-map=\"${PROJECT_SOURCE_DIR}/\"=,-fmacro-prefix-map=\"${PROJECT_BINARY_DIR}/include/\"=")
  if(GRADUS_WERROR)
    list(APPEND options -Werror=all-warnings -Xcompiler=-Werror)
  endif()
  target_compile_options(gradus_flags INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:${options}>")
  foreach(layer ${gradus_kernel_layers})
    set(sources ${ARGN})
    list(FILTER sources INCLUDE REGEX "^${layer}/cuda/")
    target_sources(gradus_${layer} PRIVATE ${sources})
  endforeach()
  target_compile_definitions(gradus_internal INTERFACE GRADUS_CUDA=1)
  if("90a" IN_LIST CMAKE_CUDA_ARCHITECTURES OR "90a-real" IN_LIST CMAKE_CUDA_ARCHITECTURES)
    target_compile_definitions(gradus_internal INTERFACE GRADUS_CUDA_SM90A=1)
  endif()
  # Of cuRAND, only the header for kernels (curand_kernel.h) is used.
  target_include_directories(gradus_internal SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(gradus PRIVATE ${GRADUS_CUDART} CUDA::cublas)

  if(NOT PROJECT_IS_TOP_LEVEL)
    return()
  endif()
  # cmake --build build --target cuda_resources: registers, shared memory and spills of each kernel.
  set(generations "75 80 86 89 90a")
  if(CUDAToolkit_VERSION VERSION_GREATER_EQUAL 12.8)
    string(APPEND generations " 100 120")
  endif()
  set(GRADUS_CUDA_RESOURCES ${generations} CACHE STRING
      "Compute capabilities that the target cuda_resources looks at")
  set(kernels ${ARGN})
  list(FILTER kernels INCLUDE REGEX "\\.cu$")
  list(TRANSFORM kernels PREPEND ${PROJECT_SOURCE_DIR}/)
  add_custom_target(cuda_resources
    COMMAND ${PROJECT_SOURCE_DIR}/tensor/cuda/runtime/kernel_resources.sh ${CMAKE_CUDA_COMPILER}
            ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/include ${GRADUS_CUDA_RESOURCES} ${kernels}
    VERBATIM USES_TERMINAL)
endfunction()
