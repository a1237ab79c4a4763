/* bench/size_codecs.c - what the codecs of segments cost: bytes and nanoseconds of decoding.
 *
 * Data: made up here, seed 1: event times of journeys (seconds within a visit, days between visits,
 * back to an earlier day at the next subject), sets of subjects at four mean distances, and 40,000
 * sorted ids of a prefix and 16 hexadecimal digits. Question: bytes per value, and CPU time per value
 * decoded, least of many rounds, on one thread.
 */
#include "storage/base/arena.h"
#include "storage/base/rng.h"
#include "storage/codec_bits.h"
#include "storage/codec_int.h"
#include "storage/codec_set.h"
#include "storage/codec_str.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ROUNDS  100
#define VALUES  65536u
#define MEMBERS 2000u
#define IDS     40000u

static double cpu_ns(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void must(enum err_code code)
{
    ASSERT(code == ERR_OK); /* nothing here comes from outside */
}

/* Decoders load up to BITS_SLACK bytes behind the end. */
static struct str with_slack(struct buf *buf)
{
    ASSERT(buf_reserve(buf, BITS_SLACK) != NULL);
    return buf_as_str(buf);
}

static void times(struct rng *rng)
{
    static const char *const names[] = {"", "const", "bits", "for", "delta", "rle", "patched"};
    static uint64_t values[VALUES];
    static uint64_t out[VALUES];
    uint64_t at = 0;
    for (uint32_t i = 0; i < VALUES; i++) {
        uint64_t pick = rng_below(rng, 300);
        if (i == 0 || pick < 9) {
            at = UINT64_C(1700000000000) + rng_below(rng, UINT64_C(3000000000));
        } else {
            at += rng_below(rng, pick < 25 ? 1000000000 : 20000);
        }
        values[i] = at;
    }
    for (enum ints_kind kind = INTS_BITS; kind <= INTS_KIND_LAST; kind++) {
        CLEANUP(buf_freep) struct buf encoded = {0};
        struct err err = {0};
        ints_encode_kind(kind, values, VALUES, &encoded);
        double best = 1e18;
        for (int round = 0; round < ROUNDS; round++) {
            struct rd rd = rd_init(with_slack(&encoded));
            double begin = cpu_ns();
            must(ints_decode64(&rd, VALUES, out, &err));
            double took = cpu_ns() - begin;
            best = took < best ? took : best;
        }
        ASSERT(memcmp(values, out, sizeof(values)) == 0);
        printf("times as %-8s %6.2f bytes  %5.2f ns\n", names[kind], (double)encoded.len / VALUES,
               best / VALUES);
    }
}

static void sets(struct rng *rng)
{
    static uint32_t members[MEMBERS];
    for (uint32_t gap = 2; gap <= 512; gap *= 4) {
        CLEANUP(buf_freep) struct buf encoded = {0};
        struct err err = {0};
        uint32_t at = 0;
        for (uint32_t i = 0; i < MEMBERS; i++) {
            at += 1 + (uint32_t)rng_below(rng, 2 * gap - 1);
            members[i] = at;
        }
        size_t bytes = 0;
        must(set_encode(members, MEMBERS, &encoded, &bytes, &err));
        double best = 1e18;
        for (int round = 0; round < ROUNDS; round++) {
            roaring_bitmap_t *set = NULL;
            struct str text = with_slack(&encoded);
            double begin = cpu_ns();
            must(set_decode(text, MEMBERS, 0, UINT32_MAX, &set, &err));
            double took = cpu_ns() - begin;
            roaring_bitmap_free(set);
            best = took < best ? took : best;
        }
        roaring_bitmap_t *roaring = roaring_bitmap_of_ptr(MEMBERS, members);
        printf("set, 1 in %-4u    %6.2f bytes  %5.2f ns  (%.2f bytes as roaring)\n", gap,
               (double)bytes / MEMBERS, best / MEMBERS,
               (double)roaring_bitmap_portable_size_in_bytes(roaring) / MEMBERS);
        roaring_bitmap_free(roaring);
    }
}

static void ids(struct rng *rng)
{
    static uint64_t lens[IDS];
    CLEANUP(buf_freep) struct buf text = {0};
    CLEANUP(buf_freep) struct buf encoded = {0};
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct err err = {0};
    uint64_t at = 0;
    for (uint32_t i = 0; i < IDS; i++) {
        size_t begin = text.len;
        at += rng_next(rng) >> 16;
        buf_printf(&text, "s_%016" PRIx64, at);
        lens[i] = text.len - begin;
    }
    enum strs_kind kind = 0;
    bool is_lz4 = false;
    must(strs_encode(buf_as_str(&text), lens, IDS, true, &encoded, &kind, &is_lz4, &err));
    ASSERT(kind == STRS_NUMBER);
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        const uint32_t *offs = NULL;
        const char *bytes = NULL;
        struct rd rd = rd_init(with_slack(&encoded));
        double begin = cpu_ns();
        must(strs_decode(&rd, IDS, arena, &offs, &bytes, &err));
        double took = cpu_ns() - begin;
        best = took < best ? took : best;
        ASSERT(memcmp(bytes, text.ptr, text.len) == 0);
        arena_rewind(arena, (struct arena_mark){0});
    }
    printf("ids of 16 hex     %6.2f bytes  %5.2f ns\n", (double)encoded.len / IDS, best / IDS);
}

int main(void)
{
    struct rng rng = rng_init(1);
    printf("                 per value  decoding\n");
    times(&rng);
    sets(&rng);
    ids(&rng);
    return 0;
}
