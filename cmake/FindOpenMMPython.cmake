# SPDX-License-Identifier: MIT
# Locate OpenMM's headers and libraries through the Python package (pip or conda), without importing it.
# Defines OpenMM::OpenMM, OPENMM_DIR, OPENMM_SHORT_VERSION and openmm_platform(<name>).
execute_process(COMMAND ${Python_EXECUTABLE} -c "
import importlib.util, os
package = importlib.util.find_spec('openmm').submodule_search_locations[0]
names = {'__file__': os.path.join(package, 'version.py')}
exec(open(names['__file__']).read(), names)
print(os.path.dirname(names['openmm_library_path']))
print('.'.join(names['short_version'].split('.')[:2]))"
  OUTPUT_VARIABLE _found RESULT_VARIABLE _result OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT _result EQUAL 0)
  message(FATAL_ERROR "The Python package openmm was not found in ${Python_EXECUTABLE}: pip install 'openmm>=8.6,<8.7'")
endif()
string(REPLACE "\n" ";" _found "${_found}")
list(GET _found 0 OPENMM_DIR)
list(GET _found 1 OPENMM_SHORT_VERSION)
if(NOT OPENMM_SHORT_VERSION STREQUAL "8.6")
  message(FATAL_ERROR "meanforce needs OpenMM 8.6 (its C++ ABI changes between minor versions); found ${OPENMM_SHORT_VERSION} in ${OPENMM_DIR}")
endif()
message(STATUS "OpenMM ${OPENMM_SHORT_VERSION} in ${OPENMM_DIR}")
find_library(OPENMM_LIBRARY OpenMM PATHS ${OPENMM_DIR}/lib NO_DEFAULT_PATH REQUIRED)
add_library(OpenMM::OpenMM SHARED IMPORTED)
set_target_properties(OpenMM::OpenMM PROPERTIES IMPORTED_LOCATION ${OPENMM_LIBRARY})
target_include_directories(OpenMM::OpenMM SYSTEM INTERFACE ${OPENMM_DIR}/include)

# openmm_platform(<name>): OpenMM::<name>, or an empty stub with the right SONAME, so that a plugin links on a machine
# that has neither that OpenMM platform nor the vendor's SDK.
function(openmm_platform name)
  find_library(OPENMM_${name}_LIBRARY OpenMM${name} PATHS ${OPENMM_DIR}/lib/plugins NO_DEFAULT_PATH)
  if(OPENMM_${name}_LIBRARY AND NOT MEANFORCE_FORCE_STUBS)
    add_library(OpenMM::${name} SHARED IMPORTED GLOBAL)
    set_target_properties(OpenMM::${name} PROPERTIES IMPORTED_LOCATION ${OPENMM_${name}_LIBRARY})
    message(STATUS "  ${name}: ${OPENMM_${name}_LIBRARY}")
  else()
    file(WRITE ${CMAKE_BINARY_DIR}/stubs/${name}.cpp "")
    add_library(stub${name} SHARED ${CMAKE_BINARY_DIR}/stubs/${name}.cpp)
    set_target_properties(stub${name} PROPERTIES OUTPUT_NAME OpenMM${name} LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/stubs)
    add_library(OpenMM::${name} ALIAS stub${name})
    message(STATUS "  ${name}: stub")
  endif()
endfunction()
