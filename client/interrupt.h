/* client/interrupt.h - SIGINT and SIGTERM as a call, for a command that has something to say before it ends.
 *
 * The signals are blocked in every thread and one thread waits for them, so the call is ordinary code: it
 * may lock and print, which a signal handler may not. What the process was told to ignore stays ignored. A
 * second signal, while the call is still under way, ends the process at once.
 *
 * Thread: one owner; the call comes from a thread of its own.
 */
#pragma once

#include "storage/base/err.h"

#include <pthread.h>
#include <signal.h>

#define INTERRUPT_EXIT 130 /* as shells have it: 128 + SIGINT */

struct interrupt {
    sigset_t signals, mask_before;
    pthread_t thread;
    bool is_watching;
    void (*on_interrupt)(void *arg); /* the process ends with INTERRUPT_EXIT behind it */
    void *arg;
};

/* Before other threads start: they take the mask over. */
void interrupt_block(struct interrupt *interrupt);
enum err_code interrupt_watch(struct interrupt *interrupt, void (*on_interrupt)(void *arg),
                              void *arg, struct err *err) ERR_MUST_CHECK;
/* What `arg` points to may go. Signals have their usual meaning again, those that came meanwhile too. */
void interrupt_done(struct interrupt *interrupt);
