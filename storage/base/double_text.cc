/* storage/base/double_text.cc - digits by std::to_chars, set as %g sets them. */
#include "storage/base/double_text.h"

#include <charconv>
#include <cmath>
#include <cstring>

namespace
{

constexpr size_t digits_max = 17; // of any double
constexpr int plain_digits = 15;  // numbers below 10^15 need no exponent

struct parts {
    char digits[digits_max];
    size_t count;
    int exponent; // of the first digit
};

parts parts_of(double magnitude)
{
    char text[DOUBLE_TEXT_BYTES];
    const std::to_chars_result end =
        std::to_chars(text, text + sizeof(text), magnitude, std::chars_format::scientific);
    parts p = {};
    const char *at = text;
    for (; *at != 'e'; at++) {
        if (*at != '.') {
            p.digits[p.count++] = *at;
        }
    }
    at += at[1] == '+' ? 2 : 1;
    std::from_chars(at, end.ptr, p.exponent);
    return p;
}

char *put(char *to, const char *from, size_t count)
{
    std::memcpy(to, from, count);
    return to + count;
}

char *put_zeroes(char *to, int count)
{
    std::memset(to, '0', static_cast<size_t>(count));
    return to + count;
}

// 1.5e+20
char *put_scientific(char *to, const parts &p)
{
    *to++ = p.digits[0];
    if (p.count > 1) {
        *to++ = '.';
        to = put(to, p.digits + 1, p.count - 1);
    }
    *to++ = 'e';
    *to++ = p.exponent < 0 ? '-' : '+';
    const int magnitude = p.exponent < 0 ? -p.exponent : p.exponent;
    if (magnitude < 10) {
        *to++ = '0';
    }
    return std::to_chars(to, to + 4, magnitude).ptr;
}

// 1500, 1.5, 0.00015
char *put_plain(char *to, const parts &p)
{
    if (p.exponent < 0) {
        to = put(to, "0.", 2);
        to = put_zeroes(to, -p.exponent - 1);
        return put(to, p.digits, p.count);
    }
    const size_t whole = static_cast<size_t>(p.exponent) + 1;
    if (p.count <= whole) {
        to = put(to, p.digits, p.count);
        return put_zeroes(to, static_cast<int>(whole - p.count));
    }
    to = put(to, p.digits, whole);
    *to++ = '.';
    return put(to, p.digits + whole, p.count - whole);
}

} // namespace

size_t double_text(double v, char out[DOUBLE_TEXT_BYTES])
{
    char *at = out;
    if (std::signbit(v)) {
        *at++ = '-';
        v = -v;
    }
    if (v == 0) {
        *at++ = '0';
        return static_cast<size_t>(at - out);
    }
    const parts p = parts_of(v);
    const int precision = p.count > plain_digits ? static_cast<int>(p.count) : plain_digits;
    at = p.exponent < -4 || p.exponent >= precision ? put_scientific(at, p) : put_plain(at, p);
    return static_cast<size_t>(at - out);
}
