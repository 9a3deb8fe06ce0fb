/* SPDX-License-Identifier: MIT */
/*
 * A VM and a library that do what a test says. They stand in at link time for vmm_machine_* and
 * baton_*; one of each exists in a process. Every function may be called from any thread.
 */
#ifndef TESTS_MONITOR_FAKE_H
#define TESTS_MONITOR_FAKE_H

#include "baton/baton.h"
#include "monitor/qmp.h"

struct vmm_machine *fake_machine(void);
void fake_reset(void);

/* What baton_query() tells from now on. */
void fake_set_info(const struct baton_info *info);
void fake_get_info(struct baton_info *info);
/* Enters a status, as the library would: info and event. */
void fake_enter(enum baton_role role, enum baton_status status);
void fake_pass(uint64_t pass);
/* The next orders are refused with this sentence; NULL: accepted again. */
void fake_refuse(const char *sentence);
/* The last order that was accepted, like "migrate tcp:a:1 resume". */
void fake_last_order(char *out, size_t size);
/* Reads of guest RAM wait from now on (true), or those that wait go on (false). */
void fake_hold_ram(bool hold);
unsigned fake_waiting(void); /* how many wait */
bool fake_quit_asked(void);
void fake_guest_shutdown(void);

#define FAKE_RAM_BASE 0x80000000u
#define FAKE_RAM_BYTES (1024u * 1024u)
uint8_t fake_ram_byte(uint64_t gpa);

#endif
