# SPDX-License-Identifier: MIT
# cmake -DIN=<folder of .cc files> -DOUT=<header> -DCLASS=<struct> -P EmbedKernels.cmake
# Writes one static std::string per kernel file, named like the file.
file(GLOB files ${IN}/*.cc)
list(SORT files)
set(text "#pragma once\n#include <string>\n// Generated from ${IN}: do not edit.\nnamespace meanforce {\nstruct ${CLASS} {\n")
foreach(file IN LISTS files)
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} body)
  string(APPEND text "inline static const std::string ${name} = R\"MFKERNEL(${body})MFKERNEL\";\n")
endforeach()
string(APPEND text "};\n}\n")
file(WRITE "${OUT}" "${text}")
