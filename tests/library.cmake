# Gradus as a library of another project (tests/library), in each of the ways that README.md names: a
# copy that was installed and moved elsewhere, and a part of the project (add_subdirectory,
# FetchContent), configured without the packages that only programs and tests need. Each time the
# project is built and run. A part is not compiled again: its libraries would lie where the installed
# ones are (make's /fast targets take them as they are), and one file of it is compiled.
# usage: cmake -DSOURCE_DIR=... -DBINARY_DIR=... -DOUT=... -DCOMPILER=... -DLAUNCHER=... -DMPIEXEC=...
#              -DCUDA=... -P library.cmake; MPIEXEC is empty where Gradus was built without MPI, CUDA
#              is ON where it was built with it
# Runs a command, which must succeed; its output is in `output`.
function(run)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${code}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${OUT})
run(${CMAKE_COMMAND} --install ${BINARY_DIR} --prefix ${OUT}/there)
file(RENAME ${OUT}/there ${OUT}/prefix)
foreach(folder bin apps tests)  # nothing but the library
  if(EXISTS ${OUT}/prefix/${folder})
    message(FATAL_ERROR "${folder} was installed")
  endif()
endforeach()
file(GLOB_RECURSE library ${OUT}/prefix/libgradus.a)
get_filename_component(libraries ${library} DIRECTORY)

set(installed -DCMAKE_PREFIX_PATH=${OUT}/prefix)
set(part -DGRADUS_SOURCE=${SOURCE_DIR} -DGRADUS_CUDA=${CUDA} -DCMAKE_ARCHIVE_OUTPUT_DIRECTORY=${libraries})
foreach(package doctest CLI11 Boost Python3)
  list(APPEND part -DCMAKE_DISABLE_FIND_PACKAGE_${package}=ON)
endforeach()
foreach(way find_package add_subdirectory FetchContent)
  set(build ${OUT}/${way})
  set(outside ${CMAKE_COMMAND} -S ${SOURCE_DIR}/tests/library -B ${build} -G "Unix Makefiles" -DWAY=${way}
              -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER})
  if(way STREQUAL "find_package")
    run(${outside} ${installed})
  else()
    run(${outside} ${part})
    run(${CMAKE_COMMAND} --build ${build}/gradus --target tensor/io/safetensors.o)
  endif()
  run(${CMAKE_COMMAND} --build ${build} --target outside_objects/fast train/fast processes/fast)
  run(${CMAKE_COMMAND} -E chdir ${OUT} ${build}/train)
  if(CUDA AND output MATCHES "this build has no CUDA")
    message(FATAL_ERROR "Gradus was built with CUDA, but\n${output}")
  endif()
  run(${build}/processes 1)
endforeach()
if(MPIEXEC)
  foreach(allowed ALLOW_RUN_AS_ROOT ALLOW_RUN_AS_ROOT_CONFIRM MCA_rmaps_base_oversubscribe)
    set(ENV{OMPI_${allowed}} 1)
  endforeach()
  run(${MPIEXEC} -n 2 ${OUT}/find_package/processes 2)
endif()

# With CUDA, but installed where there is none: the reason, and what to do.
if(CUDA)
  execute_process(COMMAND ${CMAKE_COMMAND} ${OUT}/find_package -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON
                  OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE code)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")  # CMake wraps its errors
  if(code EQUAL 0 OR NOT output MATCHES "needs the toolkit of CUDA [0-9]+: put its nvcc on the PATH")
    message(FATAL_ERROR "without a CUDA toolkit, find_package(gradus) ended with ${code}\n${output}")
  endif()
endif()
file(REMOVE_RECURSE ${OUT})
