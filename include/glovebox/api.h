/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libglovebox exports: GB_API marks one declaration, GB_API_BEGIN and GB_API_END all between
 * them. Nothing else is visible in the shared library (src/lib/symbols.txt lists what is).
 */
#ifndef GLOVEBOX_API_H
#define GLOVEBOX_API_H

#if defined(__GNUC__) || defined(__clang__)
#define GB_API __attribute__((visibility("default")))
#define GB_API_BEGIN _Pragma("GCC visibility push(default)")
#define GB_API_END _Pragma("GCC visibility pop")
#else
#define GB_API
#define GB_API_BEGIN
#define GB_API_END
#endif

#endif
