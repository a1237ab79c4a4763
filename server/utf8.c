/* server/utf8.c - checking the text of doors whose parser does not (protobuf-c). */
#include "server/utf8.h"

bool utf8_is_valid(struct str text)
{
    const unsigned char *p = (const unsigned char *)text.ptr;
    size_t left = text.len;
    while (left > 0) {
        uint64_t eight = 0;
        if (left >= sizeof(eight)) { /* most text is ASCII */
            memcpy(&eight, p, sizeof(eight));
            if ((eight & 0x8080808080808080u) == 0) {
                p += sizeof(eight);
                left -= sizeof(eight);
                continue;
            }
        }
        unsigned char c = p[0];
        size_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        if (more >= left || (c >= 0x80 && c < 0xc2) || c > 0xf4) {
            return false;
        }
        for (size_t i = 1; i <= more; i++) {
            if ((p[i] & 0xc0) != 0x80) {
                return false;
            }
        }
        if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ||
            (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f)) {
            return false;
        }
        p += more + 1;
        left -= more + 1;
    }
    return true;
}
