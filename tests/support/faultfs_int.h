/* tests/support/faultfs_int.h - between faultfs.c (the disk in memory, the counting), faultfs_io.c
 * (struct io_ops) and faultfs_vfs.c (SQLite). */
#pragma once

#include "tests/support/faultfs.h"

enum fault_call {
    CALL_OPEN, /* of a file that must exist */
    CALL_MAKE, /* of a file that may be made or emptied */
    CALL_SIZE,
    CALL_READ,
    CALL_WRITE,
    CALL_SYNC,
    CALL_CUT,
    CALL_RENAME,
    CALL_LINK,
    CALL_UNLINK,
    CALL_RMDIR,
    CALL_MKDIR,
    CALL_SYNC_DIR,
    CALL_LIST,
};

/* What shall become of a call. `fraction` is random, for those that do a part. */
struct fault_verdict {
    bool is_struck;
    bool does_it; /* the work is done all the same, and only the answer is a failure */
    bool does_part;
    int errnum;
    enum fault_kind kind;
    uint64_t fraction;
};
struct fault_verdict fault_ask(enum fault_call call, const char *path);

/* Between faultfs_begin and faultfs_end: nothing is synced for real. */
bool fault_is_on(void);

struct fault_node;
/* Tell the disk what was done to the real files. Nothing happens while at rest. */
struct fault_node *fault_note_open(const char *path, bool can_make, bool empties);
void fault_note_write(struct fault_node *node, uint64_t off, const void *bytes, size_t len);
void fault_note_cut(struct fault_node *node, uint64_t len);
void fault_note_sync(struct fault_node *node, bool is_lost);
void fault_note_rename(const char *from, const char *to);
void fault_note_link(const char *from, const char *to);
void fault_note_unlink(const char *path);
void fault_note_mkdir(const char *path);
void fault_note_sync_dir(const char *path);

/* Make SQLite's default VFS the counting one, once. */
void fault_vfs_install(void);
