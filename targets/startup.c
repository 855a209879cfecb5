/* Start-up code for any Cortex-M: vector table, FPU and MVE, .data, .bss, then main. */

#include <stdint.h>

extern uint32_t __stack_bottom[], __stack_top[], __data_load[], __data_start[], __data_end[];
extern uint32_t __bss_start[], __bss_end[];

int main(void);
void Reset_Handler(void);
void Default_Handler(void);
void HardFault_Handler(void) __attribute__((weak, alias("Default_Handler")));
void SysTick_Handler(void) __attribute__((weak, alias("Default_Handler")));

typedef void (*vector)(void);

/* 16 system exceptions; no peripheral interrupt is ever enabled. NMI and the faults that can be
   enabled one by one share the hard fault's handler. */
__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    (vector)__stack_top, Reset_Handler,     HardFault_Handler, HardFault_Handler,
    HardFault_Handler,   HardFault_Handler, HardFault_Handler, HardFault_Handler,
    0,                   0,                 0,                 Default_Handler,
    Default_Handler,     0,                 Default_Handler,   SysTick_Handler,
};

static void enable_coprocessors(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  volatile uint32_t *const cpacr = (volatile uint32_t *)0xE000ED88u;
  *cpacr |= 0xFu << 20; /* CP10 and CP11: FPU and MVE */
  __asm volatile("dsb\n\tisb" ::: "memory");
#endif
}

/* Below the stack lies nothing, but some boards and emulators ignore a write to nothing. Where the
   MPU is that of ARMv7-M, it makes the megabyte there a fault. */
static void guard_stack(void) {
#if defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__)
  enum { MEGABYTE = 1 << 20, RBAR_VALID = 1 << 4, RASR_NO_ACCESS_1MB = 1 << 28 | 19 << 1 | 1 };
  enum { CTRL_ENABLE_WITH_DEFAULT_MAP = 5 };
  volatile uint32_t *const mpu = (volatile uint32_t *)0xE000ED90u; /* TYPE CTRL RNR RBAR RASR */
  if (mpu[0] == 0 || (uintptr_t)__stack_bottom % MEGABYTE != 0) return;
  mpu[3] = ((uintptr_t)__stack_bottom - MEGABYTE) | RBAR_VALID;
  mpu[4] = RASR_NO_ACCESS_1MB;
  mpu[1] = CTRL_ENABLE_WITH_DEFAULT_MAP;
  __asm volatile("dsb\n\tisb" ::: "memory");
#endif
}

void Reset_Handler(void) {
  enable_coprocessors();
  guard_stack();
  const uint32_t *from = __data_load;
  for (uint32_t *to = __data_start; to < __data_end; ++to) *to = *from++;
  for (uint32_t *to = __bss_start; to < __bss_end; ++to) *to = 0;
  (void)main();
  Default_Handler();
}

void Default_Handler(void) {
  for (;;) {
  }
}
