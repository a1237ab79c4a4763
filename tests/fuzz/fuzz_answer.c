/* Every answer a server (or somebody in its place) can send: read it, draw it; what is drawn cannot
 * command a terminal. */
#include "client/draw.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct result_table table = {0};
    struct buf out = {0};
    struct err err;
    size_t columns = len > 0 ? data[0] : 0; /* a terminal of any width, or none */
    if (result_table_parse(&table, (struct str){(const char *)data, len}, &err) == ERR_OK &&
        draw_result(&table, false, columns, &out, &err) == ERR_OK) {
        draw_meta(&table, false, &out);
        for (size_t i = 0; i < out.len; i++) {
            if (out.ptr[i] < 0x20 && out.ptr[i] != '\n') {
                abort();
            }
        }
    }
    buf_done(&out);
    result_table_done(&table);
    return 0;
}
