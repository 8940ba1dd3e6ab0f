# Gradus as a library of another project (tests/library): installed and moved elsewhere, where the
# project is built and run; and as a part of it, where it is configured and one file compiled, without
# the packages that only programs and tests need.
# usage: cmake -DSOURCE_DIR=... -DBINARY_DIR=... -DOUT=... -DCOMPILER=... -DLAUNCHER=... -DMPIEXEC=...
#              -P library.cmake; MPIEXEC is empty where Gradus was built without MPI
function(run)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${code}\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${OUT})
set(outside ${CMAKE_COMMAND} -S ${SOURCE_DIR}/tests/library -G Ninja -DCMAKE_CXX_COMPILER=${COMPILER})

run(${CMAKE_COMMAND} --install ${BINARY_DIR} --prefix ${OUT}/there)
file(RENAME ${OUT}/there ${OUT}/prefix)
foreach(folder bin apps tests)  # nothing but the library
  if(EXISTS ${OUT}/prefix/${folder})
    message(FATAL_ERROR "${folder} was installed")
  endif()
endforeach()
run(${outside} -B ${OUT}/installed -DCMAKE_PREFIX_PATH=${OUT}/prefix -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER})
run(${CMAKE_COMMAND} --build ${OUT}/installed)
run(${CMAKE_COMMAND} -E chdir ${OUT} ${OUT}/installed/train)
run(${OUT}/installed/processes 1)
if(MPIEXEC)
  foreach(allowed ALLOW_RUN_AS_ROOT ALLOW_RUN_AS_ROOT_CONFIRM MCA_rmaps_base_oversubscribe)
    set(ENV{OMPI_${allowed}} 1)
  endforeach()
  run(${MPIEXEC} -n 2 ${OUT}/installed/processes 2)
endif()

set(unneeded "")
foreach(package doctest CLI11 Boost Python3)
  list(APPEND unneeded -DCMAKE_DISABLE_FIND_PACKAGE_${package}=ON)
endforeach()
run(${outside} -B ${OUT}/part -DGRADUS_SOURCE=${SOURCE_DIR} -DGRADUS_CUDA=OFF ${unneeded})
run(${CMAKE_COMMAND} --build ${OUT}/part --target outside_objects)
file(REMOVE_RECURSE ${OUT})
