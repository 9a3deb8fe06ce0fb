/* SPDX-License-Identifier: MIT */
/*
 * `baton run` over the fake library, for booting a guest by hand: the same options, but nothing
 * migrates and there is no monitor.
 *
 * With VMM_BOOT_CHURN_MS=N in the environment the VM is stopped every N milliseconds, all its
 * sections are saved, CPUs and devices are reset, and the sections are loaded again: what a
 * migration does to everything but memory. A guest must not notice. In between, dirty barriers are
 * asked for.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/run.h"
#include "fake_baton.h"
#include "monitor/qmp.h"

#define MAX_SECTIONS 32

static pthread_t churn_thread;
static atomic_bool ended;

int qmp_server_start(struct vmm_machine *machine, const char *path, struct qmp_server **out,
                     struct baton_error *error)
{
    return baton_error_set(error, ENOTSUP, "this helper has no monitor; leave --qmp out");
}

int qmp_server_add_human(struct qmp_server *server, const char *where, struct baton_error *error)
{
    return baton_error_set(error, ENOTSUP, "no monitor at '%s' today", where);
}

void qmp_server_stop(struct qmp_server *server)
{
}

static void move_in_place(const struct baton_host_ops *ops, void *host)
{
    unsigned count = fake_baton_device_count();
    uint8_t *bytes[MAX_SECTIONS];
    size_t length[MAX_SECTIONS];
    struct baton_error error = {0};

    ops->vm_stop(host);
    for (unsigned i = 0; i < count; i++)
        fake_save(fake_baton_device(i), &bytes[i], &length[i]);
    ops->reset(host);
    for (unsigned i = 0; i < count; i++) {
        if (fake_load(fake_baton_device(i), bytes[i], length[i], &error)) {
            fprintf(stderr, "section %s: %s\n", fake_baton_device(i)->name, error.text);
            abort();
        }
        free(bytes[i]);
    }
    ops->vm_start(host);
}

static void *churn(void *opaque)
{
    useconds_t pause_us = *(const useconds_t *)opaque * 1000;
    const struct baton_host_ops *ops;
    unsigned rounds = 0;
    void *host;

    while (!(ops = fake_baton_ops(&host)) && !atomic_load(&ended))
        usleep(1000);
    sleep(1); /* the machine is being made */
    while (!atomic_load(&ended)) {
        usleep(pause_us);
        ops->dirty_barrier(host);
        move_in_place(ops, host);
        if (++rounds % 1000 == 0)
            fprintf(stderr, "moved in place %u times\n", rounds);
    }
    return NULL;
}

static void end_churn(void)
{
    atomic_store(&ended, true);
    pthread_join(churn_thread, NULL);
}

int main(int argc, char **argv)
{
    const char *churn_ms = getenv("VMM_BOOT_CHURN_MS");
    static useconds_t pause_ms;

    if (churn_ms) {
        pause_ms = (useconds_t)atoi(churn_ms);
        fake_baton_on_free(end_churn);
        pthread_create(&churn_thread, NULL, churn, &pause_ms);
    }
    return cmd_run(argc, argv);
}
