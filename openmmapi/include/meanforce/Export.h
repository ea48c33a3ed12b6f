// SPDX-License-Identifier: MIT
#pragma once
#if defined(_WIN32)
#  if defined(MEANFORCE_BUILDING)
#    define MEANFORCE_EXPORT __declspec(dllexport)
#  else
#    define MEANFORCE_EXPORT __declspec(dllimport)
#  endif
#  define MEANFORCE_PLUGIN_EXPORT __declspec(dllexport)
#else
#  define MEANFORCE_EXPORT __attribute__((visibility("default")))
#  define MEANFORCE_PLUGIN_EXPORT __attribute__((visibility("default")))
#endif
