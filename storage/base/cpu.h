/* storage/base/cpu.h - loops that are compiled twice: for any x86-64, and with AVX2 (and POPCNT) for
 * processors that have them, chosen once when the program starts.
 *
 * Before the definition of a function whose loop the compiler can make vectors of:  CPU_CLONES static void ...
 * The choice is made by the loader before the sanitizers are ready, so they get the plain one.
 */
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CPU_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CPU_CLONES
#endif
