# The bundle's files, installed into a folder elsewhere, find their libraries and each other there.
# usage: cmake -DSOURCE_DIR=... -DBINARY_DIR=... -DOUT=... -P bundle.cmake
file(REMOVE_RECURSE ${OUT})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BINARY_DIR} --component bundle --prefix ${OUT}/there
                OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
file(RENAME ${OUT}/there ${OUT}/moved)
foreach(command "tests/test_data --test-case=*torchvision*" "apps/vicreg/train --help"
                "apps/bench/step 2 1 --threads 1 --forward" "tests/test_optim --test-case=*reference*")
  separate_arguments(command)
  list(POP_FRONT command program)
  execute_process(COMMAND ${OUT}/moved/${program} ${command} WORKING_DIRECTORY / OUTPUT_VARIABLE output
                  ERROR_VARIABLE output RESULT_VARIABLE code)
  if(NOT code EQUAL 0 OR output MATCHES "test cases: +0 ")
    message(FATAL_ERROR "${program} in the bundle ended with ${code}\n${output}")
  endif()
endforeach()
# Nothing of this machine's folders is left in the programs.
string(REGEX REPLACE "([][+.*?()^$|\\\\])" "\\\\\\1" source_dir "${SOURCE_DIR}")  # as a pattern
file(GLOB programs ${OUT}/moved/tests/test_* ${OUT}/moved/apps/vicreg/train ${OUT}/moved/apps/bench/step)
foreach(program ${programs})
  file(STRINGS ${program} paths REGEX "${source_dir}/(tests|tensor|apps|autograd|nn|data|optim)")
  if(paths)
    message(FATAL_ERROR "${program} holds ${paths}")
  endif()
endforeach()
file(REMOVE_RECURSE ${OUT})
