/* SPDX-License-Identifier: MIT */
/*
 * Entry of the bare-metal guest: every hart arrives here in machine mode with a0 = hart id and a1 = device tree.
 *
 * Hart 0 clears .bss and goes to main; the others sleep until it sends them a software interrupt with bare_release
 * set. Harts that have no stack sleep for ever.
 */
    .section .text.start, "ax"
    .globl _start
_start:
    csrw mie, zero
    csrw mip, zero
    li t0, BARE_MAX_HARTS
    bgeu a0, t0, park

    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, bare_stacks
    li t0, BARE_STACK_BYTES
    addi t1, a0, 1
    mul t0, t0, t1
    add sp, sp, t0
    la t0, bare_trap
    csrw mtvec, t0
    li t0, 0x6000 /* mstatus.FS: floating point on */
    csrs mstatus, t0
    bnez a0, secondary

    la t0, __bss_start
    la t1, __bss_end
1:  bgeu t0, t1, 2f
    sd zero, 0(t0)
    addi t0, t0, 8
    j 1b
2:  call bare_main
    j park

secondary:
    li t0, 8 /* mie.MSIE: wakes wfi; mstatus.MIE is off, so nothing is taken */
    csrw mie, t0
    la t1, bare_release
3:  wfi
    lw t2, 0(t1)
    beqz t2, 3b
    fence
    li t3, 0x02000000 /* CLINT msip[hart] */
    slli t4, a0, 2
    add t3, t3, t4
    sw zero, 0(t3)
    csrw mie, zero
    call bare_secondary

park:
    csrw mie, zero
4:  wfi
    j 4b

    .section .data
    .balign 4
    .globl bare_release
bare_release: /* not in .bss: read before that is cleared */
    .word 0

    .section .stacks, "aw", @nobits
    .balign 16
bare_stacks:
    .space BARE_MAX_HARTS * BARE_STACK_BYTES
