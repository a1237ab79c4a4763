/* Every text that `_manifest` of a backup can hold: the paths it gives lie below the folder. */
#include "storage/care_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct care_manifest manifest = {0};
    struct buf text = {0};
    struct err err;
    /* A right last line, so that what stands before it is looked at. */
    buf_z(&text, "trackway-backup 1\nmade 1 x\n");
    buf_append(&text, data, len);
    buf_printf(&text, "end %016llx\n", (unsigned long long)checksum64(text.ptr, text.len));
    if (care_manifest_parse(&manifest, buf_as_str(&text), &err) == ERR_OK) {
        size_t count = 0;
        const struct care_file *files = care_manifest_files(&manifest, &count);
        for (size_t i = 0; i < count; i++) {
            if (files[i].path[0] == '/' || strstr(files[i].path, "..") == files[i].path ||
                strstr(files[i].path, "/..") != NULL) {
                abort();
            }
        }
    }
    care_manifest_done(&manifest);
    buf_done(&text);
    return 0;
}
