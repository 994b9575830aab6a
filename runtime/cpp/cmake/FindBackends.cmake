# OpenVINO and TensorRT, as EMCA_WITH_… asks: ON must find it, AUTO may, OFF does not look.

# Sets EMCA_OPENVINO where openvino::runtime is there.
function(emca_find_openvino)
  if(EMCA_WITH_OPENVINO STREQUAL OFF)
    return()
  endif()
  find_package(OpenVINO QUIET COMPONENTS Runtime)
  if(NOT OpenVINO_FOUND)
    emca_ask_python()
  endif()
  if(NOT OpenVINO_FOUND AND EMCA_WITH_OPENVINO STREQUAL ON)
    message(FATAL_ERROR " OpenVINO is missing: pip install openvino, and name that Python with "
            "-DPython3_EXECUTABLE=… or its package with -DOpenVINO_DIR=…/openvino/cmake")
  endif()
  if(OpenVINO_FOUND)
    set(EMCA_OPENVINO "OpenVINO ${OpenVINO_VERSION}" PARENT_SCOPE)
  endif()
endfunction()

# Looks in the Python wheel, which brings headers, libraries and CMake files.
macro(emca_ask_python)
  find_package(Python3 QUIET COMPONENTS Interpreter)
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" -c "import openvino.utils as u; print(u.get_cmake_path())"
    OUTPUT_VARIABLE wheel OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(wheel)
    set(OpenVINO_DIR "${wheel}" CACHE PATH "Folder of OpenVINOConfig.cmake" FORCE)
    find_package(OpenVINO QUIET COMPONENTS Runtime)
  endif()
endmacro()

# Sets EMCA_TENSORRT, EMCA_TENSORRT_HEADERS and EMCA_TENSORRT_LIBRARIES where TensorRT and CUDA's
# runtime are there.
function(emca_find_tensorrt)
  if(EMCA_WITH_TENSORRT STREQUAL OFF)
    return()
  endif()
  set(where PATHS /usr /usr/local /usr/local/tensorrt /opt/tensorrt)
  if(TENSORRT_ROOT)
    set(where PATHS "${TENSORRT_ROOT}" NO_DEFAULT_PATH)
  endif()
  set(machine ${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)
  # NO_CACHE: another TENSORRT_ROOT is another TensorRT.
  find_path(headers NvInferRuntime.h ${where} NO_CACHE PATH_SUFFIXES include include/${machine})
  foreach(library nvinfer nvinfer_plugin)
    find_library(${library} ${library} ${where} NO_CACHE PATH_SUFFIXES lib lib64 lib/${machine})
  endforeach()
  find_package(CUDAToolkit QUIET)
  if(headers AND nvinfer AND nvinfer_plugin AND TARGET CUDA::cudart)
    emca_check_version()
    set(EMCA_TENSORRT TensorRT PARENT_SCOPE)
    set(EMCA_TENSORRT_HEADERS ${headers} ${CUDAToolkit_INCLUDE_DIRS} PARENT_SCOPE)
    set(EMCA_TENSORRT_LIBRARIES ${nvinfer} ${nvinfer_plugin} PARENT_SCOPE)
  elseif(EMCA_WITH_TENSORRT STREQUAL ON OR TENSORRT_ROOT)
    emca_say_what_is_missing()
  endif()
endfunction()

macro(emca_check_version)
  file(STRINGS "${headers}/NvInferRuntime.h" plugin_v3 REGEX "class IPluginV3OneBuild")
  if(NOT plugin_v3)
    message(FATAL_ERROR " the TensorRT in ${headers} is too old: 10.3 or newer is needed")
  endif()
endmacro()

macro(emca_say_what_is_missing)
  set(remedy "install libnvinfer-dev and libnvinfer-plugin-dev, or set TENSORRT_ROOT to an "
             "installation of TensorRT 10.3 or newer")
  if(TENSORRT_ROOT)
    set(place "TENSORRT_ROOT=${TENSORRT_ROOT}")
  else()
    set(place "the system")
  endif()
  if(NOT headers)
    message(FATAL_ERROR " ${place} has no include/NvInferRuntime.h: ${remedy}")
  elseif(NOT nvinfer OR NOT nvinfer_plugin)
    message(FATAL_ERROR " ${place} has no libnvinfer.so with libnvinfer_plugin.so: ${remedy}")
  endif()
  message(FATAL_ERROR " the CUDA runtime is missing: install the CUDA toolkit or set "
          "CUDAToolkit_ROOT")
endmacro()
