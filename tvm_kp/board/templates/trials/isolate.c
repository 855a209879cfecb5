#include "isolate.h"

#define VTOR (*(volatile uint32_t *)0xE000ED08u)
#define MPU(offset) (*(volatile uint32_t *)(0xE000ED90u + (offset)))
enum { TYPE = 0x00, CTRL = 0x04, RNR = 0x08, RBAR = 0x0C, RASR_OR_RLAR = 0x10, MAIR0 = 0x30 };
enum { CTRL_ENABLE_WITH_DEFAULT_MAP = 5 }; /* the default map is for the privileged alone */
enum { ENABLE = 1, PAGE_BITS = 10 };
enum { PROCESS_STACK = 2, NO_PRIVILEGES = 1 }; /* of CONTROL */

#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__)
#define HAS_REGIONS_OF_POWERS_OF_TWO
#endif

typedef void (*vector)(void);

void Reset_Handler(void);
void HardFault_Handler(void);
void SysTick_Handler(void);
static void SVC_Handler(void) __attribute__((naked));

/* Like the table of the start-up code, with a way back from a kernel. */
static const vector vectors[16] __attribute__((aligned(256))) = {
    0,                 Reset_Handler,     HardFault_Handler, HardFault_Handler,
    HardFault_Handler, HardFault_Handler, HardFault_Handler, HardFault_Handler,
    0,                 0,                 0,                 SVC_Handler,
    HardFault_Handler, 0,                 HardFault_Handler, SysTick_Handler,
};

/* Gives privileges to who called. */
static void SVC_Handler(void) {
  __asm volatile(
      ".syntax unified\n\t"
      "mrs r0, control\n\t"
      "lsrs r0, #1\n\t"
      "lsls r0, #1\n\t"
      "msr control, r0\n\t"
      "bx lr");
}

static int has_mpu(void) { return MPU(TYPE) != 0; }

void kp_isolate_init(void) {
  if (!has_mpu()) return;
  VTOR = (uint32_t)(uintptr_t)vectors;
#ifndef HAS_REGIONS_OF_POWERS_OF_TWO
  MPU(MAIR0) = 0x44; /* attribute 0: normal memory, not cached */
#endif
  MPU(CTRL) = CTRL_ENABLE_WITH_DEFAULT_MAP;
  __asm volatile("dsb\n\tisb" ::: "memory");
}

#ifdef HAS_REGIONS_OF_POWERS_OF_TWO

/* A region is a power of two and as aligned; each of its eighths can be left out. */
static void set_region(uintptr_t start, uintptr_t end, enum kp_access access) {
  enum { NEVER_EXECUTED = 1 << 28, ANY_WRITES = 3 << 24, ANY_READS = 2 << 24, NORMAL = 1 << 17 };
  enum { SIZE_BIT = 1, LEFT_OUT_BIT = 8, EIGHTH_BITS = 3, EIGHTHS = 0xFF };
  uint32_t bits = PAGE_BITS + EIGHTH_BITS;
  while (start >> bits != (end - 1) >> bits) ++bits;
  const uintptr_t base = start >> bits << bits;
  const uint32_t eighth_bits = bits - EIGHTH_BITS;
  const uint32_t first = (start - base) >> eighth_bits, last = (end - 1 - base) >> eighth_bits;
  const uint32_t left_out = EIGHTHS & ~((2u << last) - (1u << first));
  MPU(RBAR) = base;
  MPU(RASR_OR_RLAR) = (access == KP_MAY_WRITE ? NEVER_EXECUTED | ANY_WRITES : ANY_READS) | NORMAL |
                      left_out << LEFT_OUT_BIT | (bits - 1) << SIZE_BIT | ENABLE;
}

#else

static void set_region(uintptr_t start, uintptr_t end, enum kp_access access) {
  enum { ANY_WRITES_NEVER_EXECUTED = 1 << 1 | 1, ANY_READS = 3 << 1, GRAIN_BITS = 5 };
  const uintptr_t page = start >> PAGE_BITS << PAGE_BITS;
  MPU(RBAR) = page | (access == KP_MAY_WRITE ? ANY_WRITES_NEVER_EXECUTED : ANY_READS);
  MPU(RASR_OR_RLAR) = ((end - 1) >> GRAIN_BITS << GRAIN_BITS) | ENABLE;
}

#endif

void kp_allow(uint32_t region, uintptr_t start, uintptr_t end, enum kp_access access) {
  if (!has_mpu()) return;
  MPU(RNR) = region;
  MPU(RASR_OR_RLAR) = 0;
  set_region(start, end, access);
  __asm volatile("dsb\n\tisb" ::: "memory");
}

/* What the caller has in registers waits on main's stack, where a kernel cannot write. */
static void call_on_stack(kp_kernel kernel, unsigned char *memory, uintptr_t stack_top,
                          uint32_t control) __attribute__((naked, noipa));
static void call_on_stack(kp_kernel kernel, unsigned char *memory, uintptr_t stack_top,
                          uint32_t control) {
  (void)kernel, (void)memory, (void)stack_top, (void)control;
  __asm volatile(
      ".syntax unified\n\t"
      "push {r4-r7, lr}\n\t"
      "mov r4, r8\n\t"
      "mov r5, r9\n\t"
      "mov r6, r10\n\t"
      "mov r7, r11\n\t"
      "push {r3-r7}\n\t"
      "msr psp, r2\n\t"
      "mov r2, r0\n\t"
      "mov r0, r1\n\t"
      "msr control, r3\n\t"
      "isb\n\t"
      "blx r2\n\t"
      "mrs r3, control\n\t"
      "lsls r3, #31\n\t"
      "beq 1f\n\t"
      "svc #0\n"
      "1: movs r3, #0\n\t" /* main stack, privileges */
      "msr control, r3\n\t"
      "isb\n\t"
      "pop {r3-r7}\n\t"
      "mov r8, r4\n\t"
      "mov r9, r5\n\t"
      "mov r10, r6\n\t"
      "mov r11, r7\n\t"
      "pop {r4-r7, pc}");
}

void kp_call_isolated(kp_kernel kernel, unsigned char *memory, uintptr_t stack_top) {
  call_on_stack(kernel, memory, stack_top, PROCESS_STACK | (has_mpu() ? NO_PRIVILEGES : 0));
}
