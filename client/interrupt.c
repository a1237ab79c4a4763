/* client/interrupt.c - see interrupt.h. */
#include "client/interrupt.h"

#include <unistd.h>

void interrupt_block(struct interrupt *interrupt)
{
    static const int SIGNALS[] = {SIGINT, SIGTERM};
    *interrupt = (struct interrupt){0};
    sigemptyset(&interrupt->signals);
    for (size_t i = 0; i < COUNT_OF(SIGNALS); i++) {
        struct sigaction before;
        if (sigaction(SIGNALS[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            sigaddset(&interrupt->signals, SIGNALS[i]);
        }
    }
    pthread_sigmask(SIG_BLOCK, &interrupt->signals, &interrupt->mask_before);
}

static void *watch_main(void *arg)
{
    struct interrupt *interrupt = arg;
    int signal_number = 0;
    int state = 0;
    while (sigwait(&interrupt->signals, &signal_number) != 0) {
    }
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state); /* from here on it ends the process */
    pthread_sigmask(SIG_UNBLOCK, &interrupt->signals, NULL);
    interrupt->on_interrupt(interrupt->arg);
    _exit(INTERRUPT_EXIT);
}

enum err_code interrupt_watch(struct interrupt *interrupt, void (*on_interrupt)(void *arg),
                              void *arg, struct err *err)
{
    if (sigisemptyset(&interrupt->signals)) {
        return ERR_OK;
    }
    interrupt->on_interrupt = on_interrupt;
    interrupt->arg = arg;
    int errnum = pthread_create(&interrupt->thread, NULL, watch_main, interrupt);
    if (errnum != 0) {
        return err_set_errno(err, errnum, "starting the thread that waits for signals");
    }
    interrupt->is_watching = true;
    return ERR_OK;
}

void interrupt_done(struct interrupt *interrupt)
{
    if (interrupt->is_watching) {
        pthread_cancel(interrupt->thread); /* sigwait is a point of cancellation */
        pthread_join(interrupt->thread, NULL);
        interrupt->is_watching = false;
    }
    pthread_sigmask(SIG_SETMASK, &interrupt->mask_before, NULL);
}
