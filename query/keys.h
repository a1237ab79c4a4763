/* query/keys.h - breakdown keys: from the values of `by` fields to dense group numbers, and back.
 *
 * A group is a tuple of key values (string, number, bool, time, bucket, or null; "" and null differ). A task numbers the groups
 * it meets; numbers of tasks are matched by value when their results are merged. Within a block a
 * dictionary code is looked up once.
 *
 * Thread: one task.
 */
#pragma once

#include "query/run.h"

#define GROUP_KEYS_BYTES_MAX (64u << 10)

struct groups;
enum err_code groups_create(const struct bound_query *query, struct arena *arena,
                            struct groups **ret, struct err *err) ERR_MUST_CHECK;
/* Number values of any length: for groups that are no keys of an answer, where a longer one is ERR_LIMIT. */
void groups_take_long_values(struct groups *groups);
/* Group numbers of the scan's current block, one per row; new groups are added. No keys: all 0 (one group). */
enum err_code groups_of_block(struct groups *groups, struct scan *scan,
                              const struct scan_block *block, const uint32_t **ret_numbers,
                              struct err *err) ERR_MUST_CHECK;
/* Where only a few of a block's rows will be asked about: groups_look_open for each block of a source (ret zeroed before its first,
 * `ret` and the block live as long as it is looked at), then groups_look_at for a place in the block's arrays, or, of a block that
 * came as journeys by the key's field (scan.h), for a row. */
struct groups_look {
    const uint32_t *numbers; /* by place, where they could not be left for later; else: */
    const uint32_t *codes;   /* by row */
    const uint16_t *rows;    /* by place; NULL: a place is a row */
    const struct dict *dict;
    uint32_t *of_code; /* the group of each code, or UINT32_MAX */
    uint32_t code_cap;
};
/* The field whose values can be looked up, where they are codes (scan_vec_is_looked_up); NULL: there is none. */
const struct field *groups_look_field(const struct groups *groups);
enum err_code groups_look_open(struct groups *groups, struct scan *scan,
                               const struct scan_block *block, struct groups_look *ret,
                               struct err *err) ERR_MUST_CHECK;
enum err_code groups_look_new(struct groups *groups, struct groups_look *look, uint32_t code,
                              struct err *err) ERR_MUST_CHECK; /* for groups_look_at */
static inline enum err_code groups_look_at(struct groups *groups, struct groups_look *look,
                                           uint32_t place, uint32_t *ret_number, struct err *err)
{
    if (look->numbers != NULL) {
        *ret_number = look->numbers[place];
        return ERR_OK;
    }
    uint32_t code = look->codes[look->rows == NULL ? place : look->rows[place]];
    if (look->of_code[code] == UINT32_MAX) {
        ERR_TRY(groups_look_new(groups, look, code, err));
    }
    *ret_number = look->of_code[code];
    return ERR_OK;
}
/* The block's rows by group, in *ret (of the scan's arena), where each key has a code in every row and these make fewer tuples than
 * there are rows; else *ret_done is false: number the rows. Rows of one key with a large dictionary are kept back, and come with
 * a later block, or with groups_count_rest, which is asked after the last block of a source. */
struct group_count {
    uint32_t group;
    uint32_t rows;
};
enum err_code groups_count_block(struct groups *groups, struct scan *scan,
                                 const struct scan_block *block, struct group_count **ret,
                                 uint32_t *ret_count, bool *ret_done,
                                 struct err *err) ERR_MUST_CHECK;
enum err_code groups_count_rest(struct groups *groups, struct arena *arena,
                                struct group_count **ret, uint32_t *ret_count,
                                struct err *err) ERR_MUST_CHECK;
/* The group of one value of the only key: a code of the dictionary, or dict->count for no value. Added when new. */
enum err_code groups_of_code(struct groups *groups, const struct dict *dict, uint32_t code,
                             uint32_t *ret_number, struct err *err) ERR_MUST_CHECK;
/* The same of any value; the bytes of a string outlive the groups. */
enum err_code groups_of_literal(struct groups *groups, const struct literal *value,
                                uint32_t *ret_number, struct err *err) ERR_MUST_CHECK;
/* Key k of the group as a literal, its string borrowed; false where it is null. Not of buckets. */
bool groups_literal(const struct groups *groups, uint32_t number, uint32_t key,
                    struct literal *ret);
uint32_t groups_count(const struct groups *groups);
/* The query whose keys they number. */
const struct bound_query *groups_query(const struct groups *groups);
/* The number in `into` of group `number` of `from`, added when new: for merging tasks. */
enum err_code groups_import(struct groups *into, const struct groups *from, uint32_t number,
                            uint32_t *ret_number, struct err *err) ERR_MUST_CHECK;
/* The same for `count` groups of `from`, all of them by number where `numbers` is NULL, without copies of strings: `from`
 * outlives `into`. */
enum err_code groups_adopt(struct groups *into, const struct groups *from, const uint32_t *numbers,
                           uint32_t count, uint32_t *out_numbers, struct err *err) ERR_MUST_CHECK;
/* The same for the same keys, whoever numbered them. */
uint64_t groups_hash(const struct groups *groups, uint32_t number);
/* A group's key values appended to `out`, and the group that has them, added when new: for partial answers, which never
 * leave the process. */
void groups_pack(const struct groups *groups, uint32_t number, struct buf *out);
struct rd;
enum err_code groups_unpack(struct groups *groups, struct rd *rd, uint32_t *ret_number,
                            struct err *err) ERR_MUST_CHECK;
/* All groups, and the numbers that they have in `groups`, by those they had, in the arena. */
void groups_pack_all(const struct groups *groups, struct buf *out);
enum err_code groups_unpack_all(struct groups *groups, struct rd *rd, struct arena *arena,
                                uint32_t **ret_numbers, struct err *err) ERR_MUST_CHECK;
/* The group whose keys are all missing, added when new. */
enum err_code groups_null(struct groups *groups, uint32_t *ret_number,
                          struct err *err) ERR_MUST_CHECK;
/* Canonical order of groups: key by key; null first, then bool, numbers by value, strings by bytes, buckets by edge. */
int groups_cmp(const struct groups *groups, uint32_t a, uint32_t b);
/* The same of a group of x and one of y, which number the same keys. */
int groups_cmp_with(const struct groups *x, uint32_t a, const struct groups *y, uint32_t b);
/* Key k of the group as a cell (bucket keys as their label "[10, 100)"). */
struct cell groups_cell(const struct groups *groups, uint32_t number, uint32_t key);
