/* SPDX-License-Identifier: MIT */
/* The host's end of the serial port: a terminal, plain stdin and stdout, a unix socket, or nothing.
 * See console.c. */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

#include "baton/error.h"

struct vmm_console;

struct vmm_console_config {
    const char *where; /* "stdio", "none", a socket's path; NULL: stdio */
    /* Called from the console's thread, without locks. */
    void (*on_input)(void *opaque); /* there is something to take */
    void (*on_quit)(void *opaque);  /* the person at the terminal typed the quit key */
    void *opaque;
};

/*
 * A terminal is put into raw mode. Input is not looked at before vmm_console_start(), so that the
 * callbacks can rely on whatever is made between the two.
 */
int vmm_console_new(const struct vmm_console_config *config, struct vmm_console **out,
                    struct baton_error *error);
int vmm_console_start(struct vmm_console *console, struct baton_error *error);
/* Writes what is left to stdout or to the client, for a short while, and gives the terminal back as
 * it was. */
void vmm_console_free(struct vmm_console *console);

/* Any thread; never waits for whoever reads the console. */
void vmm_console_put(struct vmm_console *console, uint8_t byte);
size_t vmm_console_take(struct vmm_console *console, uint8_t *bytes, size_t size);

#endif
