/* query/heap.h - a binary heap of numbers, whose last in rank lies on top: for the first few of many.
 *
 * What the numbers stand for, and who comes behind whom, is the caller's.
 *
 * Thread: pure functions over the caller's memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Whether x comes behind y. */
typedef bool (*heap_behind_fn)(const void *arg, uint32_t x, uint32_t y);

/* The number at `at` goes down to where it belongs; those below it are in order. */
static inline void heap_sink(uint32_t *heap, uint32_t count, uint32_t at, heap_behind_fn is_behind,
                             const void *arg)
{
    uint32_t moved = heap[at];
    for (uint32_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && is_behind(arg, heap[child + 1], heap[child])) {
            child++;
        }
        if (!is_behind(arg, heap[child], moved)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static inline void heap_make(uint32_t *heap, uint32_t count, heap_behind_fn is_behind,
                             const void *arg)
{
    for (uint32_t i = count / 2; i-- > 0;) {
        heap_sink(heap, count, i, is_behind, arg);
    }
}
