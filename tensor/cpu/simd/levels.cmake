# The innermost kernels (inner_kernels.cpp), once for each level of vector instructions (level.h).
# Compiler vector extensions rather than a library such as Highway: the kernels need +, *, load and
# store, which the compiler gives for any width and processor; the few intrinsics (of bfloat16) have a
# plain way beside them.
set(simd_levels generic:4:)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  list(APPEND simd_levels "avx2:8:-march=x86-64-v3" "avx512:16:-march=x86-64-v4"
                          "avx512_bf16:16:-march=x86-64-v4 -mavx512bf16"
                          "amx:16:-march=x86-64-v4 -mavx512bf16 -mamx-tile -mamx-bf16")
  if(GRADUS_X86_LEVEL STREQUAL "x86-64-v3")  # the check for AVX2 must run without it
    set_source_files_properties(${PROJECT_SOURCE_DIR}/tensor/cpu/simd/required.cpp PROPERTIES
                                COMPILE_OPTIONS "-march=x86-64;-DGRADUS_REQUIRE_AVX2")
  endif()
endif()

add_library(gradus_simd OBJECT)
target_compile_features(gradus_simd PRIVATE cxx_std_20)
target_include_directories(gradus_simd PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/include/tensor)
target_link_libraries(gradus_simd PRIVATE gradus_flags)
foreach(entry ${simd_levels})
  string(REGEX MATCH "^([^:]*):([^:]*):(.*)$" entry "${entry}")
  set(source ${PROJECT_BINARY_DIR}/simd/inner_kernels_${CMAKE_MATCH_1}.cpp)
  file(CONFIGURE OUTPUT ${source} CONTENT
"#define GRADUS_SIMD_LEVEL ${CMAKE_MATCH_1}
#define GRADUS_SIMD_WIDTH ${CMAKE_MATCH_2}
#include \"tensor/cpu/simd/inner_kernels.cpp\"
")
  separate_arguments(flags UNIX_COMMAND "${CMAKE_MATCH_3}")
  if(GRADUS_SANITIZE)  # instrumented, these unrolled loops would take many minutes to compile
    list(APPEND flags -fno-sanitize=all)
  endif()
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}")
  target_sources(gradus_simd PRIVATE ${source})
endforeach()
