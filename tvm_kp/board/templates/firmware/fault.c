/* A fault ends the run: its registers are reported in one line. */

#include <stdint.h>

#include "fault.h"

#define SCB(offset) (*(volatile uint32_t *)(0xE000ED00u + (offset)))
enum { CFSR = 0x28, HFSR = 0x2C, MMFAR = 0x34, BFAR = 0x38 };
enum { FRAME_LR = 5, FRAME_PC = 6, FRAME_WORDS = 8 };

extern uint32_t __stack_bottom[], __stack_top[];

/* The frame is on the stack of what failed, main's or a process'. That may be why it failed, so the
   report starts on a fresh one. */
void HardFault_Handler(void) __attribute__((naked));
void HardFault_Handler(void) {
  __asm volatile(
      ".syntax unified\n\t"
      "mov r1, lr\n\t"
      "movs r2, #4\n\t"
      "mrs r0, msp\n\t"
      "tst r1, r2\n\t"
      "beq 1f\n\t"
      "mrs r0, psp\n"
      "1: ldr r1, =__stack_top\n\t"
      "mov sp, r1\n\t"
      "bl kp_fault\n\t"
      ".ltorg");
}

static char *append(char *to, const char *text) {
  while (*text) *to++ = *text++;
  return to;
}

static char *append_register(char *to, const char *name, uint32_t value) {
  to = append(append(append(to, " "), name), "=0x");
  for (int bits = 28; bits >= 0; bits -= 4) *to++ = "0123456789abcdef"[(value >> bits) & 0xFu];
  return to;
}

void kp_fault(const uint32_t *frame) __attribute__((noreturn, used));
void kp_fault(const uint32_t *frame) {
  char line[128];
  const int stacked = frame >= __stack_bottom && frame + FRAME_WORDS <= __stack_top;
  const uint32_t pc = stacked ? frame[FRAME_PC] : 0;
  const uint32_t lr = stacked ? frame[FRAME_LR] : 0;
  char *end = append(line, "FAULT");
  end = append_register(end, "CFSR", SCB(CFSR));
  end = append_register(end, "HFSR", SCB(HFSR));
  end = append_register(end, "MMFAR", SCB(MMFAR));
  end = append_register(end, "BFAR", SCB(BFAR));
  end = append_register(end, "PC", pc);
  end = append_register(end, "LR", lr);
  *end = 0;
  kp_fault_report(line);
}
