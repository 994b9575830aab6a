# Installs the library, builds the consumer against it and runs it, then the installed program.
#   cmake -D BUILD=… -D SOURCE=… -D WORK=… -D MODEL=… -P consumer.cmake
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(failed)
    message(FATAL_ERROR "${ARGV}: ${said}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/build -DCMAKE_PREFIX_PATH=${WORK}/prefix)
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/consumer ${MODEL})
find_program(program emca-segment PATHS ${WORK}/prefix/bin NO_DEFAULT_PATH)
if(program)
  run(${program} --help)
endif()
