/* The UART of Arm's Cortex-M System Design Kit, as the MPS boards have it. */

#include <stdint.h>

#include "port.h"

#define UART(offset) (*(volatile uint32_t *)(KP_UART + (offset)))
enum { DATA = 0x00, STATE = 0x04, CTRL = 0x08, INTERRUPT = 0x0C, DIVIDER = 0x10 };
enum { TX_FULL = 1, RX_FULL = 2 };             /* of STATE */
enum { TX_RX_AND_RX_INTERRUPT = 1 | 2 | 8 };   /* of CTRL */
enum { RX_INTERRUPT = 2, LEAST_DIVIDER = 16 };

#define NVIC(offset) (*(volatile uint32_t *)(0xE000E100u + (offset) + KP_UART_INTERRUPT / 32u * 4u))
#define NVIC_BIT (1u << (KP_UART_INTERRUPT % 32u))
enum { SET_ENABLED = 0x000, CLEAR_ENABLED = 0x080, CLEAR_PENDING = 0x180 };

void kp_port_init(void) {
  const uint32_t divider = KP_UART_CLOCK_HZ / KP_UART_BAUD;
  UART(DIVIDER) = divider < LEAST_DIVIDER ? LEAST_DIVIDER : divider;
  UART(CTRL) = TX_RX_AND_RX_INTERRUPT;
}

/* A masked interrupt wakes the processor and is not taken: it needs no handler. */
static void wait(void) {
  __asm volatile("cpsid i" ::: "memory");
  NVIC(SET_ENABLED) = NVIC_BIT;
  if ((UART(STATE) & RX_FULL) == 0) __asm volatile("dsb\n\twfi" ::: "memory");
  UART(INTERRUPT) = RX_INTERRUPT;
  NVIC(CLEAR_ENABLED) = NVIC_BIT;
  NVIC(CLEAR_PENDING) = NVIC_BIT;
  __asm volatile("dsb\n\tisb\n\tcpsie i" ::: "memory");
}

int kp_port_read(void) {
  while ((UART(STATE) & RX_FULL) == 0) wait();
  return (int)(UART(DATA) & 0xFFu);
}

void kp_port_write(const uint8_t *bytes, size_t size) {
  for (; size > 0; --size, ++bytes) {
    while (UART(STATE) & TX_FULL) {
    }
    UART(DATA) = *bytes;
  }
  while (UART(STATE) & TX_FULL) {
  }
}
