# The emulated CUDA back end: the same .cu files, compiled by the host's compiler against the
# emulator's headers.

# gradus_emulated_sources(<target> <sources>): adds them to a target. A .cu file is included by a
# generated .cpp, so that one tree can hold both builds.
function(gradus_emulated_sources target)
  foreach(source ${ARGN})
    get_filename_component(source ${source} ABSOLUTE)
    file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR} ${source})
    if(source MATCHES "\\.cu$")
      set(wrapper ${PROJECT_BINARY_DIR}/emulated/${name}.cpp)
      file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"${name}\"\n")
      set(source ${wrapper})
      set_source_files_properties(${source} PROPERTIES
        COMPILE_OPTIONS "-Wno-unknown-pragmas;-Wno-subobject-linkage")
    endif()
    target_sources(${target} PRIVATE ${source})
  endforeach()
endfunction()

function(gradus_add_emulated_cuda)
  file(GLOB emulator_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tensor/cuda/emulator/*.cpp)
  foreach(layer ${gradus_kernel_layers})
    set(sources ${ARGN})
    list(FILTER sources INCLUDE REGEX "^${layer}/cuda/")
    gradus_emulated_sources(gradus_${layer}_emulated ${sources})
  endforeach()
  target_sources(gradus_tensor_emulated PRIVATE ${emulator_sources})
  target_compile_definitions(gradus_internal_emulated INTERFACE GRADUS_CUDA=1 GRADUS_CUDA_EMULATOR=1)
  target_include_directories(gradus_internal_emulated BEFORE
                             INTERFACE ${PROJECT_SOURCE_DIR}/tensor/cuda/emulator/include)
  target_link_libraries(gradus_tensor_emulated PRIVATE Boost::context)
  target_link_libraries(gradus_emulated PRIVATE Boost::context)
endfunction()
