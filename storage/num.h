/* storage/num.h - the number of the language: an exact decimal where it can be, a double where not.
 *
 * 12 and 12.50 arrive under one name, and money must add up. So a number is m * 10^-scale with a
 * 64-bit m and scale 0 .. 18, in lowest terms (m not divisible by 10 unless scale is 0), or, where
 * the text has more digits or a wider exponent than that, the nearest double (scale NUM_DOUBLE,
 * m = its bits; never NaN or infinite). A double that came in as binary (protobuf) is taken as the
 * shortest decimal that reads back as it, so both doors give one value for 0.1.
 *
 * Sums are exact and do not depend on order: a struct num_sum holds decimals as 128-bit integers,
 * one for each scale, and doubles in a fixed-point superaccumulator wide enough for every double.
 * Source: U. Kulisch, "Computer Arithmetic and Validity", 2008 (the complete accumulator).
 */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/str.h"

#define NUM_SCALE_MAX 18
#define NUM_DOUBLE    255

struct num {
    int64_t m;
    uint8_t scale; /* 0 .. NUM_SCALE_MAX, or NUM_DOUBLE */
};

struct num num_int(int64_t v);
struct num num_decimal(int64_t m, uint8_t scale); /* brings to lowest terms */
/* False for NaN and infinities. */
bool num_double(double v, struct num *ret);
/* JSON number grammar, the whole text; false where it is none or overflows a double. A text that is
 * no decimal of ours becomes the nearest double, and that what num_double makes of it: one double
 * is one number, whichever way it came, and num_double(num_to_double(n)) is n for each NUM_DOUBLE
 * n. */
bool num_parse(struct str text, struct num *ret);
double num_to_double(struct num n);
/* Exact order over all numbers, decimals and doubles alike: < 0, 0, > 0. */
int num_cmp(struct num a, struct num b);
/* Shortest text that reads back as the same number: "12.5", "-0.01", "1e+30". */
void num_format(struct num n, struct buf *out);

#define NUM_SUM_LIMBS 70 /* 2^-1074 .. 2^1024 in 32-bit limbs, and room for 2^64 carries */
struct num_sum {
    uint64_t count;
    uint32_t scales_used; /* bit s: decimal[s] is in use; the others hold nothing */
    bool has_double;      /* limbs are in use; else they hold nothing */
    __int128 decimal[NUM_SCALE_MAX + 1];
    int64_t limbs[NUM_SUM_LIMBS];
};

/* Cheap: touches only the fields before `decimal`. All zeroes are an empty sum, too. */
void num_sum_init(struct num_sum *sum);
void num_sum_add(struct num_sum *sum, struct num n);
/* Add `m_total * 10^-scale` that stands for `count` numbers: kernels add int64 columns in bulk. */
void num_sum_add_decimal(struct num_sum *sum, __int128 m_total, uint8_t scale, uint64_t count);
void num_sum_merge(struct num_sum *into, const struct num_sum *from);
/* The exact total as a decimal where no double took part and it fits 38 digits, else the correctly
 * rounded double (the largest finite one, where the total lies beyond all of them). */
struct num_total {
    bool is_decimal;
    __int128 m; /* m * 10^-scale */
    uint8_t scale;
    double approx; /* the nearest double, always set */
};
struct num_total num_sum_total(const struct num_sum *sum);
void num_total_format(struct num_total total, struct buf *out);
