/* storage/base/slabs.h - memory for pieces that live long and are read often, in large pages.
 *
 * What a cache holds is read a little here and a little there: with pages of 4 KiB the processor then looks up more pages than it
 * reads lines. Pieces of about the same size share slabs of a few MiB, for which large pages are asked for where the system has
 * them to give (transparent huge pages: "madvise" or "always"); a size that few pieces have is malloc's, so that little data stays
 * little memory. A piece takes at most an eighth more than it needs. A slab that is empty goes back to the system.
 *
 * Source: J. Bonwick, "The Slab Allocator", USENIX 1994; transparent huge pages: the kernel's admin-guide/mm/transhuge.
 *
 * Thread: any.
 */
#pragma once

#include <stddef.h>

/* `bytes`, aligned for anything, not zeroed; NULL where memory is out. */
void *slabs_alloc(size_t bytes);
/* `bytes` as they were asked for. NULL is fine. */
void slabs_free(void *piece, size_t bytes);

struct slabs_stats {
    size_t slabs, slab_bytes; /* in use, and how long each is */
    size_t pieces;            /* in them */
};
struct slabs_stats slabs_stats(void);
