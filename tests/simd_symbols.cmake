# Checks that the innermost kernels, which are compiled with instructions that not every processor
# has, define no function that other files may share: the linker keeps one copy of an inline function
# for the whole program. Run as:
#   cmake -DNM=<nm> -DOBJECTS=<object files of the levels> -P tests/simd_symbols.cmake
cmake_minimum_required(VERSION 3.22)

if(NOT OBJECTS)
  message(FATAL_ERROR "no object files given")
endif()
set(shared "")
set(checked 0)
foreach(object ${OBJECTS})
  execute_process(COMMAND ${NM} --defined-only -C ${object} OUTPUT_VARIABLE symbols
                  COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]+" lines "${symbols}")
  foreach(line ${lines})
    math(EXPR checked "${checked} + 1")
    # Symbols of this file alone (small letters), or in the namespace of a level.
    if(NOT line MATCHES "^[0-9a-f]+ [a-tw-z] " AND
       NOT line MATCHES "gradus::cpu::simd::(generic|avx2|avx512|avx512_bf16|amx)::")
      list(APPEND shared "${object}: ${line}")
    endif()
  endforeach()
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no symbols found in ${OBJECTS}")
endif()
if(shared)
  list(JOIN shared "\n  " text)
  message(FATAL_ERROR "symbols that other files may share:\n  ${text}")
endif()
message(STATUS "${checked} symbols belong to their level")
