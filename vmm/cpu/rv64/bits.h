/* SPDX-License-Identifier: MIT */
/*
 * Numbers of the RISC-V privileged architecture, by the names the manual gives them.
 */
#ifndef RV64_BITS_H
#define RV64_BITS_H

#include <stdint.h>

enum { RV64_PRIV_U = 0, RV64_PRIV_S = 1, RV64_PRIV_M = 3 };

#define RV64_BIT(n) ((uint64_t)1 << (n))

#define MSTATUS_SIE RV64_BIT(1)
#define MSTATUS_MIE RV64_BIT(3)
#define MSTATUS_SPIE RV64_BIT(5)
#define MSTATUS_MPIE RV64_BIT(7)
#define MSTATUS_SPP RV64_BIT(8)
#define MSTATUS_MPP (RV64_BIT(11) | RV64_BIT(12))
#define MSTATUS_MPP_SHIFT 11
#define MSTATUS_FS (RV64_BIT(13) | RV64_BIT(14))
#define MSTATUS_MPRV RV64_BIT(17)
#define MSTATUS_SUM RV64_BIT(18)
#define MSTATUS_MXR RV64_BIT(19)
#define MSTATUS_TVM RV64_BIT(20)
#define MSTATUS_TW RV64_BIT(21)
#define MSTATUS_TSR RV64_BIT(22)
#define MSTATUS_UXL_64 RV64_BIT(33)
#define MSTATUS_SXL_64 RV64_BIT(35)
#define MSTATUS_SD RV64_BIT(63)
#define MSTATUS_WRITABLE                                                                           \
    (MSTATUS_SIE | MSTATUS_MIE | MSTATUS_SPIE | MSTATUS_MPIE | MSTATUS_SPP | MSTATUS_MPP |         \
     MSTATUS_FS | MSTATUS_MPRV | MSTATUS_SUM | MSTATUS_MXR | MSTATUS_TVM | MSTATUS_TW |            \
     MSTATUS_TSR)
#define SSTATUS_WRITABLE                                                                           \
    (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP | MSTATUS_FS | MSTATUS_SUM | MSTATUS_MXR)
#define SSTATUS_READABLE (SSTATUS_WRITABLE | MSTATUS_UXL_64 | MSTATUS_SD)

/* Interrupts: bit numbers of mip and mie */
enum { IRQ_SSI = 1, IRQ_MSI = 3, IRQ_STI = 5, IRQ_MTI = 7, IRQ_SEI = 9, IRQ_MEI = 11 };
#define IRQ_S_MASK (RV64_BIT(IRQ_SSI) | RV64_BIT(IRQ_STI) | RV64_BIT(IRQ_SEI))
#define IRQ_M_MASK (RV64_BIT(IRQ_MSI) | RV64_BIT(IRQ_MTI) | RV64_BIT(IRQ_MEI))
#define IRQ_LINES (RV64_BIT(IRQ_SEI) | IRQ_M_MASK)

enum {
    CAUSE_FETCH_ACCESS = 1,
    CAUSE_ILLEGAL = 2,
    CAUSE_BREAKPOINT = 3,
    CAUSE_LOAD_MISALIGNED = 4,
    CAUSE_LOAD_ACCESS = 5,
    CAUSE_STORE_MISALIGNED = 6,
    CAUSE_STORE_ACCESS = 7,
    CAUSE_ECALL_U = 8,
    CAUSE_ECALL_S = 9,
    CAUSE_ECALL_M = 11,
    CAUSE_FETCH_PAGE = 12,
    CAUSE_LOAD_PAGE = 13,
    CAUSE_STORE_PAGE = 15
};
#define CAUSE_INTERRUPT RV64_BIT(63)
#define MEDELEG_WRITABLE 0xb3ffu /* all but the environment call from M */

#define SATP_MODE_SHIFT 60
#define SATP_SV39 8u
#define SATP_PPN (RV64_BIT(44) - 1)

#define PTE_V RV64_BIT(0)
#define PTE_R RV64_BIT(1)
#define PTE_W RV64_BIT(2)
#define PTE_X RV64_BIT(3)
#define PTE_U RV64_BIT(4)
#define PTE_A RV64_BIT(6)
#define PTE_D RV64_BIT(7)
#define PTE_PPN_SHIFT 10
#define PTE_RESERVED (~(RV64_BIT(54) - 1))

#define PMP_R 1u
#define PMP_W 2u
#define PMP_X 4u
#define PMP_A 0x18u
#define PMP_TOR 0x08u
#define PMP_NA4 0x10u
#define PMP_NAPOT 0x18u
#define PMP_L 0x80u

#define ENVCFG_FIOM 1u

enum { FFLAG_NX = 1, FFLAG_UF = 2, FFLAG_OF = 4, FFLAG_DZ = 8, FFLAG_NV = 16 };
enum { RM_RNE, RM_RTZ, RM_RDN, RM_RUP, RM_RMM, RM_DYN = 7 };

/* misa: RV64 with A C D F I M S U */
#define MISA_VALUE                                                                                 \
    (RV64_BIT(63) | RV64_BIT(0) | RV64_BIT(2) | RV64_BIT(3) | RV64_BIT(5) | RV64_BIT(8) |          \
     RV64_BIT(12) | RV64_BIT(18) | RV64_BIT(20))

#endif
