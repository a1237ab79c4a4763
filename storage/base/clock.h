/* storage/base/clock.h - wall time for data, monotonic time for durations and deadlines. */
#pragma once

#include <stdint.h>

int64_t clock_wall_ms(void);  /* since the epoch, UTC */
uint64_t clock_mono_us(void); /* since some fixed instant; never goes back */
