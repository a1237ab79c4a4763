/* storage/base/slabs.h - memory for pieces that live long and are read often, in large pages.
 *
 * What a cache holds is read a little here and a little there: with pages of 4 KiB the processor then looks up more pages than it
 * reads lines. Pieces of about the same size share slabs of a few MiB; slabs that have become full are put into large pages by
 * whoever has time for it (slabs_tend), not by who fills them: where memory is full of files the system first has to make room for
 * a large page, which takes longer than the read that wanted it. A size that few pieces have is malloc's, so that little data stays
 * little memory. A piece takes at most an eighth more than it needs, and the end of a slab that no piece fits is at most another. A
 * slab that is empty goes back to the system, but for one of a size that is in small pages: the next piece would take one again.
 *
 * Source: J. Bonwick, "The Slab Allocator", USENIX 1994; large pages: madvise(2), MADV_COLLAPSE and, before Linux 6.1, MADV_HUGEPAGE.
 *
 * Thread: any.
 */
#pragma once

#include <stddef.h>

/* `bytes`, aligned for anything, not zeroed; NULL where memory is out. */
void *slabs_alloc(size_t bytes);
/* `bytes` as they were asked for. NULL is fine. */
void slabs_free(void *piece, size_t bytes);
/* What a piece of so many bytes takes. */
size_t slabs_size(size_t bytes);

/* Put up to `most` full slabs into large pages, until the system has none to give. Returns how many. Cost: a copy of each; a thread
 * that needs a new page of the process may have to wait for it. */
size_t slabs_tend(size_t most);

struct slabs_stats {
    size_t slabs, slab_bytes; /* in use, and how long each is */
    size_t pieces;            /* in them */
    size_t large;             /* slabs that lie in large pages */
};
struct slabs_stats slabs_stats(void);
