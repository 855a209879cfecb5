#include "isolate.h"

#define VTOR (*(volatile uint32_t *)0xE000ED08u)
#define MPU(offset) (*(volatile uint32_t *)(0xE000ED90u + (offset)))
enum { CTRL = 0x04, RNR = 0x08, RBAR = 0x0C, RASR_OR_RLAR = 0x10, MAIR0 = 0x30 };
enum { CTRL_ENABLE_WITH_DEFAULT_MAP = 5 }; /* the default map is for the privileged alone */
enum { ENABLE = 1, PAGE_BITS = 10 };

#if defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__)
#define HAS_MPU_OF_ARMV7_M
#endif

typedef void (*vector)(void);

void Reset_Handler(void);
void HardFault_Handler(void);
void SysTick_Handler(void);
static void SVC_Handler(void) __attribute__((naked));

/* Like the table of the start-up code, with a way back from a kernel. */
static const vector vectors[16] __attribute__((aligned(128))) = {
    0,                 Reset_Handler,     HardFault_Handler, HardFault_Handler,
    HardFault_Handler, HardFault_Handler, HardFault_Handler, HardFault_Handler,
    0,                 0,                 0,                 SVC_Handler,
    HardFault_Handler, 0,                 HardFault_Handler, SysTick_Handler,
};

/* Gives privileges to who called. */
static void SVC_Handler(void) {
  __asm volatile(
      "mrs r0, control\n\t"
      "bic r0, #1\n\t"
      "msr control, r0\n\t"
      "bx lr");
}

void kp_isolate_init(void) {
  VTOR = (uint32_t)(uintptr_t)vectors;
#ifndef HAS_MPU_OF_ARMV7_M
  MPU(MAIR0) = 0x44; /* attribute 0: normal memory, not cached */
#endif
  MPU(CTRL) = CTRL_ENABLE_WITH_DEFAULT_MAP;
  __asm volatile("dsb\n\tisb" ::: "memory");
}

#ifdef HAS_MPU_OF_ARMV7_M

/* A region is a power of two and as aligned; each of its eighths can be left out. */
static void set_region(uintptr_t start, uintptr_t end, enum kp_access access) {
  enum { NEVER_EXECUTED = 1 << 28, ANY_WRITES = 3 << 24, ANY_READS = 2 << 24, NORMAL = 1 << 17 };
  enum { SIZE_BIT = 1, LEFT_OUT_BIT = 8, EIGHTH_BITS = 3 };
  uint32_t bits = PAGE_BITS + EIGHTH_BITS;
  while ((1u << bits) < end - start) ++bits;
  const uintptr_t base = end - (1u << bits);
  const uint32_t left_out = (1u << ((start - base) >> (bits - EIGHTH_BITS))) - 1;
  MPU(RBAR) = base;
  MPU(RASR_OR_RLAR) = (access == KP_WRITE ? NEVER_EXECUTED | ANY_WRITES : ANY_READS) | NORMAL |
                      left_out << LEFT_OUT_BIT | (bits - 1) << SIZE_BIT | ENABLE;
}

#else

static void set_region(uintptr_t start, uintptr_t end, enum kp_access access) {
  enum { ANY_WRITES_NEVER_EXECUTED = 1 << 1 | 1, ANY_READS = 3 << 1, GRAIN_BITS = 5 };
  const uintptr_t page = start >> PAGE_BITS << PAGE_BITS;
  MPU(RBAR) = page | (access == KP_WRITE ? ANY_WRITES_NEVER_EXECUTED : ANY_READS);
  MPU(RASR_OR_RLAR) = ((end - 1) >> GRAIN_BITS << GRAIN_BITS) | ENABLE;
}

#endif

void kp_allow(uint32_t region, uintptr_t start, uintptr_t end, enum kp_access access) {
  MPU(RNR) = region;
  MPU(RASR_OR_RLAR) = 0;
  set_region(start, end, access);
  __asm volatile("dsb\n\tisb" ::: "memory");
}

/* What the caller has in registers waits on main's stack, where a kernel cannot write. */
void kp_call_isolated(kp_kernel kernel, unsigned char *memory, uintptr_t stack_top)
    __attribute__((naked));
void kp_call_isolated(kp_kernel kernel, unsigned char *memory, uintptr_t stack_top) {
  __asm volatile(
      "push {r3-r11, lr}\n\t"
      "msr psp, r2\n\t"
      "mov r2, r0\n\t"
      "mov r0, r1\n\t"
      "movs r3, #3\n\t" /* process stack, no privileges */
      "msr control, r3\n\t"
      "isb\n\t"
      "blx r2\n\t"
      "svc #0\n\t"
      "movs r3, #0\n\t" /* main stack, privileges */
      "msr control, r3\n\t"
      "isb\n\t"
      "pop {r3-r11, pc}");
}
