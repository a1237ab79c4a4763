/* storage/base/double_text.h - doubles as text.
 *
 * The shortest text that reads back as the same double, and of these the one nearest to it, in the form of printf's %g:
 * 0.1, 1500, 1e+20, 1.5e-07. The digits are those of std::to_chars (C++17, "Ryu", U. Adams, PLDI 2018), which
 * hang on no locale.
 *
 * Thread: any. Errors: none.
 */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DOUBLE_TEXT_BYTES 32
/* A finite double; the length, without a 0 at the end. */
size_t double_text(double v, char out[DOUBLE_TEXT_BYTES]);

#ifdef __cplusplus
}
#endif
