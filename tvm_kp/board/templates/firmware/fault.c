/* A fault ends the run: its registers are printed in one line and the status is not 0. */

#include <stdint.h>

#include "semihosting.h"

#define SCB(offset) (*(volatile uint32_t *)(0xE000ED00u + (offset)))
enum { CFSR = 0x28, HFSR = 0x2C, MMFAR = 0x34, BFAR = 0x38 };
enum { FRAME_LR = 5, FRAME_PC = 6, FRAME_WORDS = 8 };

extern uint32_t __stack_bottom[], __stack_top[];

/* The frame is on the stack of what failed, main's or a process'. That may be why it failed, so the
   report starts on a fresh one. */
void HardFault_Handler(void) __attribute__((naked));
void HardFault_Handler(void) {
  __asm volatile(
      "tst lr, #4\n\t"
      "ite eq\n\t"
      "mrseq r0, msp\n\t"
      "mrsne r0, psp\n\t"
      "ldr r1, =__stack_top\n\t"
      "mov sp, r1\n\t"
      "b kp_fault\n\t"
      ".ltorg");
}

static void print_register(const char *name, uint32_t value) {
  char text[] = "=0x00000000";
  for (int i = 0; i < 8; ++i) text[10 - i] = "0123456789abcdef"[(value >> (4 * i)) & 0xFu];
  kp_print(" ");
  kp_print(name);
  kp_print(text);
}

void kp_fault(const uint32_t *frame) __attribute__((noreturn, used));
void kp_fault(const uint32_t *frame) {
  const int stacked = frame >= __stack_bottom && frame + FRAME_WORDS <= __stack_top;
  const uint32_t pc = stacked ? frame[FRAME_PC] : 0;
  const uint32_t lr = stacked ? frame[FRAME_LR] : 0;
  kp_print("FAULT");
  print_register("CFSR", SCB(CFSR));
  print_register("HFSR", SCB(HFSR));
  print_register("MMFAR", SCB(MMFAR));
  print_register("BFAR", SCB(BFAR));
  print_register("PC", pc);
  print_register("LR", lr);
  kp_print("\n");
  kp_exit(3);
}
