# The real CUDA back end: finds nvcc and compiles the .cu files with it.

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(NOT GRADUS_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "GRADUS_CUDA is ${GRADUS_CUDA}, but no nvcc was found: set CUDACXX to it")
  endif()
  set(GRADUS_CUDA OFF)
  message(STATUS "No nvcc: built without the CUDA back end")
  return()
endif()
set(GRADUS_CUDA ON)

# The GPU of this machine, or every generation since Turing (7.5): machine code for each (8.6 and 8.9
# run that of 8.0), and PTX that a driver translates for later ones.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  execute_process(COMMAND nvidia-smi -L OUTPUT_VARIABLE gpus RESULT_VARIABLE failed ERROR_QUIET)
  if(failed EQUAL 0 AND gpus MATCHES "GPU 0" AND CMAKE_VERSION VERSION_GREATER_EQUAL 3.24)
    set(CMAKE_CUDA_ARCHITECTURES native)
  else()
    set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 90-real 100-real 120)
  endif()
endif()
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 20)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
find_package(CUDAToolkit REQUIRED)
message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION}, for ${CMAKE_CUDA_ARCHITECTURES}")

# Adds the CUDA sources to the libraries of their folders.
function(gradus_add_cuda)
  set(options --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra,-Wshadow)
  if(GRADUS_WERROR)
    list(APPEND options -Werror=all-warnings -Xcompiler=-Werror)
  endif()
  target_compile_options(gradus_options INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:${options}>")
  foreach(folder tensor data)
    set(sources ${ARGN})
    list(FILTER sources INCLUDE REGEX "/${folder}/cuda/")
    target_sources(gradus_${folder} PRIVATE ${sources})
    target_compile_definitions(gradus_${folder} PUBLIC GRADUS_CUDA=1)
  endforeach()
  target_link_libraries(gradus_tensor PUBLIC CUDA::cudart CUDA::cublas CUDA::curand)

  # cmake --build build --target cuda_resources: registers, shared memory and spills of each kernel.
  set(GRADUS_CUDA_RESOURCES "75 80 86 89 90 100 120" CACHE STRING
      "Compute capabilities that the target cuda_resources looks at")
  set(kernels ${ARGN})
  list(FILTER kernels INCLUDE REGEX "\\.cu$")
  add_custom_target(cuda_resources
    COMMAND ${PROJECT_SOURCE_DIR}/tensor/cuda/kernel_resources.sh ${CMAKE_CUDA_COMPILER}
            ${PROJECT_SOURCE_DIR} ${GRADUS_CUDA_RESOURCES} ${kernels}
    VERBATIM USES_TERMINAL)
endfunction()
