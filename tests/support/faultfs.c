/* tests/support/faultfs.c - the disk in memory, and which call is struck.
 *
 * A file is what was last synced of it and a list of changes since. A folder is not an object of its
 * own: there is one table of names that are durable, one that the process sees, and a list of what
 * was done to names since, each item of which goes when the folder it happened in is synced. */
#include "tests/support/faultfs_int.h"

#include "storage/base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR_BYTES 512u

struct change {
    struct change *next;
    bool is_cut; /* to `off` bytes; else a write */
    uint64_t off;
    size_t len;
    uint8_t bytes[];
};

struct image {
    uint8_t *bytes;
    size_t len, cap;
};

struct fault_node {
    struct fault_node *next;
    bool is_dir;
    struct image synced;
    struct change *first, **last;
};

struct name {
    char *path;
    struct fault_node *node;
};
struct names {
    struct name *at;
    size_t count, cap;
};

struct name_op {
    struct name_op *next;
    char *from; /* NULL: made */
    char *to;   /* NULL: removed */
    struct fault_node *node;
};

static struct {
    pthread_mutex_t lock;
    bool is_on, is_noting;
    char *root;
    struct fault_node *nodes;
    struct names seen, synced;
    struct name_op *first, **last;
    enum fault_kind kind;
    uint64_t nth, calls;
    bool has_struck;
    struct rng rng;
    char what[512];
    const char *sought; /* by faultfs_seek */
    uint64_t found;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *must(void *ptr)
{
    if (ptr == NULL) {
        fprintf(stderr, "faultfs: out of memory\n");
        abort();
    }
    return ptr;
}

/* ---- names ---- */

static struct name *names_find(const struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->at[i].path, path) == 0) {
            return &names->at[i];
        }
    }
    return NULL;
}

static void names_put(struct names *names, const char *path, struct fault_node *node)
{
    struct name *name = names_find(names, path);
    if (name != NULL) {
        name->node = node;
        return;
    }
    if (names->count == names->cap) {
        names->cap = names->cap * 2 + 64;
        names->at = must(realloc(names->at, names->cap * sizeof(*names->at)));
    }
    names->at[names->count++] = (struct name){must(strdup(path)), node};
}

static void names_drop(struct names *names, const char *path)
{
    struct name *name = names_find(names, path);
    if (name != NULL) {
        free(name->path);
        *name = names->at[--names->count];
    }
}

static void names_done(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->at[i].path);
    }
    free(names->at);
    *names = (struct names){0};
}

static void names_copy(struct names *names, const struct names *of)
{
    for (size_t i = 0; i < of->count; i++) {
        names_put(names, of->at[i].path, of->at[i].node);
    }
}

/* What is in a folder goes where it goes. */
static void names_move(struct names *names, const char *from, const char *to)
{
    size_t len = strlen(from);
    for (size_t i = 0; i < names->count; i++) {
        char *path = names->at[i].path;
        if (strncmp(path, from, len) == 0 && path[len] == '/') {
            char *moved = must(malloc(strlen(to) + strlen(path + len) + 1));
            strcpy(moved, to);
            strcat(moved, path + len);
            names->at[i].path = moved;
            free(path);
        }
    }
}

static void names_apply(struct names *names, const struct name_op *op)
{
    if (op->from != NULL) {
        names_drop(names, op->from);
        if (op->to != NULL && op->node != NULL && op->node->is_dir) {
            names_move(names, op->from, op->to);
        }
    }
    if (op->to != NULL) {
        names_put(names, op->to, op->node);
    }
}

static void name_op_add(const char *from, const char *to, struct fault_node *node)
{
    struct name_op *op = must(calloc(1, sizeof(*op)));
    op->from = from == NULL ? NULL : must(strdup(from));
    op->to = to == NULL ? NULL : must(strdup(to));
    op->node = node;
    *disk.last = op;
    disk.last = &op->next;
    names_apply(&disk.seen, op);
}

static void name_op_free(struct name_op *op)
{
    free(op->from);
    free(op->to);
    free(op);
}

static bool is_in(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && path[len] == '/' && strchr(path + len + 1, '/') == NULL;
}

/* ---- contents ---- */

static struct fault_node *node_create(bool is_dir)
{
    struct fault_node *node = must(calloc(1, sizeof(*node)));
    node->is_dir = is_dir;
    node->last = &node->first;
    node->next = disk.nodes;
    disk.nodes = node;
    return node;
}

static void change_add(struct fault_node *node, bool is_cut, uint64_t off, const void *bytes,
                       size_t len)
{
    struct change *change = must(calloc(1, sizeof(*change) + len));
    change->is_cut = is_cut;
    change->off = off;
    change->len = len;
    if (len > 0) {
        memcpy(change->bytes, bytes, len);
    }
    *node->last = change;
    node->last = &change->next;
}

static void image_resize(struct image *image, size_t len)
{
    if (len > image->cap) {
        image->cap = len * 2;
        image->bytes = must(realloc(image->bytes, image->cap));
    }
    if (len > image->len) {
        memset(image->bytes + image->len, 0, len - image->len);
    }
    image->len = len;
}

static void image_write(struct image *image, uint64_t off, const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return;
    }
    if (off + len > image->len) {
        image_resize(image, (size_t)off + len);
    }
    memcpy(image->bytes + off, bytes, len);
}

static void image_change(struct image *image, const struct change *change)
{
    if (change->is_cut) {
        image_resize(image, (size_t)change->off);
    } else {
        image_write(image, change->off, change->bytes, change->len);
    }
}

/* A change that was on its way when the power went. */
static void image_change_torn(struct image *image, const struct change *change, struct rng *rng)
{
    uint64_t fate = rng_below(rng, 4);
    if (fate == 0) {
        return;
    }
    if (fate == 1 || change->is_cut) {
        image_change(image, change);
        return;
    }
    if (fate == 2) {
        image_write(image, change->off, change->bytes,
                    (size_t)rng_below(rng, (uint64_t)change->len + 1));
        return;
    }
    for (size_t at = 0; at < change->len;) {
        size_t len = SECTOR_BYTES - (size_t)((change->off + at) % SECTOR_BYTES);
        len = len < change->len - at ? len : change->len - at;
        if (rng_below(rng, 2) == 0) {
            image_write(image, change->off + at, change->bytes + at, len);
        }
        at += len;
    }
}

static void changes_free(struct fault_node *node)
{
    while (node->first != NULL) {
        struct change *change = node->first;
        node->first = change->next;
        free(change);
    }
    node->last = &node->first;
}

/* ---- what the process does ---- */

bool fault_is_on(void)
{
    return disk.is_on;
}

struct fault_node *fault_note_open(const char *path, bool can_make, bool empties)
{
    struct fault_node *node = NULL;
    pthread_mutex_lock(&disk.lock);
    if (disk.is_noting) {
        const struct name *name = names_find(&disk.seen, path);
        node = name == NULL ? NULL : name->node;
        if (node == NULL && can_make) {
            node = node_create(false);
            name_op_add(NULL, path, node);
        } else if (node != NULL && empties) {
            change_add(node, true, 0, NULL, 0);
        }
    }
    pthread_mutex_unlock(&disk.lock);
    return node;
}

void fault_note_write(struct fault_node *node, uint64_t off, const void *bytes, size_t len)
{
    pthread_mutex_lock(&disk.lock);
    if (disk.is_noting && node != NULL && len > 0) {
        change_add(node, false, off, bytes, len);
    }
    pthread_mutex_unlock(&disk.lock);
}

void fault_note_cut(struct fault_node *node, uint64_t len)
{
    pthread_mutex_lock(&disk.lock);
    if (disk.is_noting && node != NULL) {
        change_add(node, true, len, NULL, 0);
    }
    pthread_mutex_unlock(&disk.lock);
}

void fault_note_sync(struct fault_node *node, bool is_lost)
{
    pthread_mutex_lock(&disk.lock);
    if (disk.is_noting && node != NULL) {
        /* A sync that fails leaves the changes clean in the page cache: some reached the disk, the
         * others never will. Half of the time none did. */
        bool none_landed = is_lost && rng_below(&disk.rng, 2) == 0;
        for (const struct change *change = node->first; change != NULL; change = change->next) {
            if (!is_lost) {
                image_change(&node->synced, change);
            } else if (!none_landed) {
                image_change_torn(&node->synced, change, &disk.rng);
            }
        }
        changes_free(node);
    }
    pthread_mutex_unlock(&disk.lock);
}

void fault_note_rename(const char *from, const char *to)
{
    pthread_mutex_lock(&disk.lock);
    const struct name *name = disk.is_noting ? names_find(&disk.seen, from) : NULL;
    if (name != NULL) {
        name_op_add(from, to, name->node);
    }
    pthread_mutex_unlock(&disk.lock);
}

void fault_note_link(const char *from, const char *to)
{
    pthread_mutex_lock(&disk.lock);
    const struct name *name = disk.is_noting ? names_find(&disk.seen, from) : NULL;
    if (name != NULL) {
        name_op_add(NULL, to, name->node);
    }
    pthread_mutex_unlock(&disk.lock);
}

void fault_note_unlink(const char *path)
{
    pthread_mutex_lock(&disk.lock);
    if (disk.is_noting && names_find(&disk.seen, path) != NULL) {
        name_op_add(path, NULL, NULL);
    }
    pthread_mutex_unlock(&disk.lock);
}

void fault_note_mkdir(const char *path)
{
    pthread_mutex_lock(&disk.lock);
    if (disk.is_noting && strcmp(path, disk.root) != 0 && names_find(&disk.seen, path) == NULL) {
        name_op_add(NULL, path, node_create(true));
    }
    pthread_mutex_unlock(&disk.lock);
}

void fault_note_sync_dir(const char *path)
{
    pthread_mutex_lock(&disk.lock);
    if (disk.is_noting) {
        struct name_op **at = &disk.first;
        while (*at != NULL) {
            struct name_op *op = *at;
            if (!is_in(op->to != NULL ? op->to : op->from, path)) {
                at = &op->next;
                continue;
            }
            names_apply(&disk.synced, op);
            *at = op->next;
            name_op_free(op);
        }
        disk.last = at;
    }
    pthread_mutex_unlock(&disk.lock);
}

/* ---- striking ---- */

/* Which calls a kind of fault is about: one bit per enum fault_call. */
static uint32_t calls_of(enum fault_kind kind)
{
    const uint32_t changing = 1u << CALL_MAKE | 1u << CALL_WRITE | 1u << CALL_SYNC |
                              1u << CALL_CUT | 1u << CALL_RENAME | 1u << CALL_LINK |
                              1u << CALL_UNLINK | 1u << CALL_RMDIR | 1u << CALL_MKDIR |
                              1u << CALL_SYNC_DIR;
    switch (kind) {
    case FAULT_NOSPC:
    case FAULT_NOSPC_ON:
        return 1u << CALL_MAKE | 1u << CALL_WRITE | 1u << CALL_MKDIR | 1u << CALL_RENAME |
               1u << CALL_LINK | 1u << CALL_SYNC;
    case FAULT_SHORT: return 1u << CALL_WRITE;
    case FAULT_SYNC: return 1u << CALL_SYNC | 1u << CALL_SYNC_DIR;
    case FAULT_POWER: return changing;
    case FAULT_READ_EIO:
    case FAULT_READ_ENDS:
    case FAULT_READ_FLIP: return 1u << CALL_READ;
    case FAULT_NONE:
    case FAULT_EIO: break;
    }
    return UINT32_MAX;
}

static const char *const call_names[] = {"open",  "make",  "size",     "read", "write",
                                         "sync",  "cut",   "rename",   "link", "unlink",
                                         "rmdir", "mkdir", "sync dir", "list"};

static struct fault_verdict judge(enum fault_call call)
{
    struct fault_verdict verdict = {.is_struck = true, .errnum = EIO, .kind = disk.kind};
    verdict.fraction = rng_next(&disk.rng);
    switch (disk.kind) {
    case FAULT_NOSPC:
    case FAULT_NOSPC_ON: verdict.errnum = ENOSPC; break;
    case FAULT_SHORT:
        verdict.errnum = ENOSPC;
        verdict.does_part = true;
        break;
    case FAULT_EIO: verdict.does_part = call == CALL_WRITE && verdict.fraction % 2 == 0; break;
    case FAULT_POWER: {
        bool is_the_nth = disk.calls == disk.nth;
        verdict.does_part = is_the_nth && call == CALL_WRITE;
        verdict.does_it = is_the_nth && call != CALL_WRITE && verdict.fraction % 2 == 0;
        break;
    }
    case FAULT_NONE:
    case FAULT_SYNC:
    case FAULT_READ_EIO:
    case FAULT_READ_ENDS:
    case FAULT_READ_FLIP: break;
    }
    return verdict;
}

struct fault_verdict fault_ask(enum fault_call call, const char *path)
{
    struct fault_verdict verdict = {0};
    pthread_mutex_lock(&disk.lock);
    bool is_counted = disk.is_noting && (calls_of(disk.kind) >> call & 1) != 0;
    /* Once the power is gone reads fail as well, though they are not counted. */
    bool is_dead = disk.is_noting && disk.kind == FAULT_POWER && disk.has_struck;
    disk.calls += is_counted;
    if (is_counted && call == CALL_SYNC_DIR && disk.found == 0 && disk.sought != NULL &&
        strstr(path, disk.sought) != NULL) {
        disk.found = disk.calls;
    }
    bool goes_on = disk.kind == FAULT_NOSPC_ON && disk.calls > disk.nth;
    if (is_dead || (is_counted && disk.nth > 0 && (disk.calls == disk.nth || goes_on))) {
        verdict = judge(call);
        if (!disk.has_struck) {
            snprintf(
                disk.what, sizeof(disk.what), "%s %s", call_names[call],
                path + (strncmp(path, disk.root, strlen(disk.root)) == 0 ? strlen(disk.root) : 0));
        }
        disk.has_struck = true;
    }
    pthread_mutex_unlock(&disk.lock);
    return verdict;
}

void faultfs_arm(enum fault_kind kind, uint64_t nth, uint64_t seed)
{
    pthread_mutex_lock(&disk.lock);
    disk.kind = kind;
    disk.nth = nth;
    disk.calls = 0;
    disk.has_struck = false;
    disk.rng = rng_init(seed);
    snprintf(disk.what, sizeof(disk.what), "nothing");
    pthread_mutex_unlock(&disk.lock);
}

void faultfs_seek(const char *sought)
{
    pthread_mutex_lock(&disk.lock);
    disk.sought = sought;
    disk.found = 0;
    pthread_mutex_unlock(&disk.lock);
}

uint64_t faultfs_found(void)
{
    return disk.found;
}

uint64_t faultfs_calls(void)
{
    return disk.calls;
}

bool faultfs_has_struck(void)
{
    return disk.has_struck;
}

const char *faultfs_what(void)
{
    return disk.what;
}

/* ---- a run, and its end ---- */

static void forget(void)
{
    while (disk.nodes != NULL) {
        struct fault_node *node = disk.nodes;
        disk.nodes = node->next;
        changes_free(node);
        free(node->synced.bytes);
        free(node);
    }
    while (disk.first != NULL) {
        struct name_op *op = disk.first;
        disk.first = op->next;
        name_op_free(op);
    }
    disk.last = &disk.first;
    names_done(&disk.seen);
    names_done(&disk.synced);
    free(disk.root);
    disk.root = NULL;
}

void faultfs_begin(const char *root)
{
    fault_vfs_install();
    pthread_mutex_lock(&disk.lock);
    forget();
    disk.root = must(strdup(root));
    disk.is_on = true;
    disk.is_noting = true;
    pthread_mutex_unlock(&disk.lock);
    faultfs_arm(FAULT_NONE, 0, 0);
}

void faultfs_rest(void)
{
    pthread_mutex_lock(&disk.lock);
    disk.is_noting = false;
    pthread_mutex_unlock(&disk.lock);
}

void faultfs_end(void)
{
    pthread_mutex_lock(&disk.lock);
    forget();
    disk.is_on = false;
    disk.is_noting = false;
    pthread_mutex_unlock(&disk.lock);
}

/* ---- power loss ---- */

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    (void)stat;
    (void)flag;
    return ftw->level == 0 ? 0 : remove(path);
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

static void put_file(const char *path, const struct image *image)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    size_t done = 0;
    while (fd >= 0 && done < image->len) {
        ssize_t put = write(fd, image->bytes + done, image->len - done);
        if (put <= 0) {
            break;
        }
        done += (size_t)put;
    }
    if (fd < 0 || done < image->len || close(fd) != 0) {
        fprintf(stderr, "faultfs: cannot write \"%s\": %s\n", path, strerror(errno));
        abort();
    }
}

static void put_node(const char *path, const struct fault_node *node, enum fault_loss loss,
                     struct rng *rng)
{
    struct image image = {0};
    if (node->synced.len > 0) {
        image_write(&image, 0, node->synced.bytes, node->synced.len);
    }
    for (const struct change *change = node->first; change != NULL; change = change->next) {
        if (loss == LOSS_ANY) {
            image_change_torn(&image, change, rng);
        } else if (loss == LOSS_NONE || loss == LOSS_NAMES) {
            image_change(&image, change);
        }
    }
    put_file(path, &image);
    free(image.bytes);
}

/* A name is there only if its folder is: what was made in one that was lost is lost with it. */
static bool has_parent(const struct names *names, const char *path)
{
    char parent[4096];
    snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = '\0';
    if (strcmp(parent, disk.root) == 0) {
        return true;
    }
    const struct name *name = names_find(names, parent);
    return name != NULL && has_parent(names, parent);
}

void faultfs_power_loss(enum fault_loss loss, uint64_t seed)
{
    struct names names = {0};
    struct rng rng = rng_init(seed);
    pthread_mutex_lock(&disk.lock);
    names_copy(&names, &disk.synced);
    for (const struct name_op *op = disk.first; op != NULL; op = op->next) {
        if (loss == LOSS_NONE || (loss != LOSS_ALL && rng_below(&rng, 2) == 0)) {
            names_apply(&names, op);
        }
    }
    nftw(disk.root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (names.count > 0) {
        qsort(names.at, names.count, sizeof(*names.at),
              name_cmp); /* folders before what is in them */
    }
    for (size_t i = 0; i < names.count; i++) {
        const struct name *name = &names.at[i];
        if (!has_parent(&names, name->path)) {
            continue;
        }
        if (!name->node->is_dir) {
            put_node(name->path, name->node, loss, &rng);
        } else if (mkdir(name->path, 0750) != 0) {
            fprintf(stderr, "faultfs: cannot make \"%s\": %s\n", name->path, strerror(errno));
            abort();
        }
    }
    names_done(&names);
    pthread_mutex_unlock(&disk.lock);
}
