/* What all Cortex-M do alike: the stack, and the end after a fault. */

#include <stdint.h>

#include "fault.h"
#include "port.h"
#include "server.h"

#define AIRCR (*(volatile uint32_t *)0xE000ED0Cu)
enum { AIRCR_RESET_WITH_KEY = 0x05FA0004 };
enum { PAINT = 0x5AA5C33C, MARGIN_WORDS = 16 };

extern uint32_t __stack_bottom[], __stack_top[];

void kp_stack_paint(void) {
  uint32_t *sp;
  __asm volatile("mov %0, sp" : "=r"(sp));
  for (volatile uint32_t *word = __stack_bottom; word < sp - MARGIN_WORDS; ++word) *word = PAINT;
}

uint32_t kp_stack_size(void) { return (uint32_t)(__stack_top - __stack_bottom) * 4u; }

uint32_t kp_stack_used(void) {
  const volatile uint32_t *word = __stack_bottom;
  while (word < __stack_top && *word == PAINT) ++word;
  return (uint32_t)(__stack_top - word) * 4u;
}

/* The fault may have cut off a frame: a zero ends that. Another pushes the last byte out of the UART
   before the machine starts anew. */
void kp_fault_report(const char *line) {
  static const uint8_t zero[1];
  kp_port_write(zero, 1);
  kp_send(kp_serve_fault(line));
  kp_port_write(zero, 1);
  AIRCR = AIRCR_RESET_WITH_KEY;
  for (;;) {
  }
}
