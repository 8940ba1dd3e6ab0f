# cmake --build build --target bundle: one archive with the programs, the tests and the shared
# libraries that they need, for machines on which nothing is installed: build/gradus.tar.xz, which
# unpacks to gradus/. Its folders are those of a build, so programs find each other in both.
#
# Not in it: the C library (the machine's must be at least as new as this one's) and, with the CUDA
# back end, cuBLAS, which `source gradus/env.sh` looks for in a toolkit or in Python's packages. Packing
# needs the tools patchelf and xz.

set(in_bundle COMPONENT bundle EXCLUDE_FROM_ALL)
# The tests with all that they run (tests/CMakeLists.txt), and what gpu_check runs beside.
get_target_property(bundle_programs test_apps MANUALLY_ADDED_DEPENDENCIES)
list(APPEND bundle_programs test_tensor test_autograd test_nn test_optim test_data test_apps)
if(GRADUS_CUDA)
  list(APPEND bundle_programs test_cuda)
  if(TARGET bench_gpu_step_measured)
    list(APPEND bundle_programs bench_gpu_step_measured)
  else()
    list(APPEND bundle_programs bench_gpu_step)
  endif()
endif()
foreach(program ${bundle_programs})
  get_target_property(folder ${program} BINARY_DIR)
  file(RELATIVE_PATH folder ${PROJECT_BINARY_DIR} ${folder})
  install(TARGETS ${program} RUNTIME_DEPENDENCY_SET gradus_libraries
          RUNTIME DESTINATION ${folder} ${in_bundle})
endforeach()
install(RUNTIME_DEPENDENCY_SET gradus_libraries
        PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|mvec)\\.so" "^libcu(da|dart|blas|blasLt)\\.so"
        LIBRARY DESTINATION lib ${in_bundle})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/tests/reference DESTINATION tests ${in_bundle}
        FILES_MATCHING PATTERN "*.safetensors" PATTERN "*.json" PATTERN "*.pt")
install(FILES ${PROJECT_SOURCE_DIR}/autograd/ops.h ${PROJECT_SOURCE_DIR}/autograd/ops_fused.h
        DESTINATION autograd ${in_bundle})
install(PROGRAMS ${PROJECT_SOURCE_DIR}/apps/vicreg/get_cifar10.sh DESTINATION apps/vicreg ${in_bundle})
file(GLOB bench_scripts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/apps/bench/pytorch_*.py)
install(PROGRAMS ${bench_scripts} DESTINATION apps/bench ${in_bundle})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/apps/gpu_check DESTINATION apps USE_SOURCE_PERMISSIONS ${in_bundle}
        FILES_MATCHING PATTERN "*.py")
# With the major version of cuBLAS that the programs are linked to.
configure_file(${PROJECT_SOURCE_DIR}/apps/bundle/env.sh.in ${PROJECT_BINARY_DIR}/env.sh @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/env.sh ${PROJECT_SOURCE_DIR}/README.md DESTINATION . ${in_bundle})

find_program(GRADUS_PATCHELF patchelf)
find_program(GRADUS_XZ xz)
if(NOT GRADUS_PATCHELF OR NOT GRADUS_XZ)
  add_custom_target(bundle
    COMMAND ${CMAKE_COMMAND} -E echo "bundle: error: packing needs the tools patchelf and xz (Debian: patchelf, xz-utils); run cmake again once they are there"
    COMMAND ${CMAKE_COMMAND} -E false
    VERBATIM)
  return()
endif()

set(folder ${PROJECT_BINARY_DIR}/bundle)
add_custom_target(bundle
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${folder}
  COMMAND ${CMAKE_COMMAND} --install ${PROJECT_BINARY_DIR} --component bundle --strip
          --prefix ${folder}/gradus
  # The programs' RUNPATH does not hold for what the libraries need themselves.
  COMMAND find ${folder}/gradus/lib -type f -exec ${GRADUS_PATCHELF} --set-rpath $ORIGIN {} +
  # The programs hold much of the same code: with a dictionary of 64 MiB, half the size.
  COMMAND tar -C ${folder} --use-compress-program "xz -9" -cf ${PROJECT_BINARY_DIR}/gradus.tar.xz
          gradus
  DEPENDS ${bundle_programs}
  COMMENT "Packing gradus.tar.xz"
  VERBATIM)
