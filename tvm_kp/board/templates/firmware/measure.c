/* Counting with SysTick: instructions, on an emulator where each is a fixed time, or cycles. */

#include "measure.h"

#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
enum { COUNTER_BITS = 24, COUNTER_MASK = 0xFFFFFF };
enum { CSR_ENABLE_INTERRUPT_CPU_CLOCK = 7 };

/* With a limit, a measurement that takes KP_LIMIT_WRAPS wraps of the counter ends there. */
#ifdef KP_LIMIT_WRAPS
#define TEXT_OF(value) #value
#define LDR_R0(value) "ldr r0, =" TEXT_OF(value) "\n\t"
enum { HANDLER_INSTRUCTIONS = 8 };
#define HANDLER_CHECK \
  LDR_R0(KP_LIMIT_WRAPS) \
  "cmp r1, r0\n\t" \
  "bhs 1f\n\t"
#define HANDLER_LIMIT "1: ldr r0, =kp_measure_limit\n\tbx r0\n\t"
#else
enum { HANDLER_INSTRUCTIONS = 5 };
#define HANDLER_CHECK
#define HANDLER_LIMIT
#endif

static volatile uint32_t wraps __asm("kp_wraps") __attribute__((used));
static uint64_t empty;

/* In assembly, so that its instructions are known: they are taken off every count. */
void SysTick_Handler(void) __attribute__((naked));
void SysTick_Handler(void) {
  __asm volatile(
      ".syntax unified\n\t"
      "ldr r0, =kp_wraps\n\t"
      "ldr r1, [r0]\n\t"
      "adds r1, #1\n\t"
      "str r1, [r0]\n\t" HANDLER_CHECK
      "bx lr\n\t" HANDLER_LIMIT
      ".ltorg");
}

#ifdef KP_TICKS_PER_INSTRUCTION
enum kp_unit kp_measure_unit(void) { return KP_INSTRUCTIONS; }

static uint64_t count_of(uint64_t ticks, uint32_t seen) {
  const uint64_t all = (uint64_t)((double)ticks / KP_TICKS_PER_INSTRUCTION + 0.5);
  return all - (uint64_t)seen * HANDLER_INSTRUCTIONS;
}
#else
enum kp_unit kp_measure_unit(void) { return KP_CYCLES; }

/* Those of the handler, one in a million, stay. */
static uint64_t count_of(uint64_t ticks, uint32_t seen) {
  (void)seen;
  return ticks;
}
#endif

void kp_measure_init(void) {
  SYST_RVR = COUNTER_MASK;
  SYST_CSR = CSR_ENABLE_INTERRUPT_CPU_CLOCK;
  empty = 0;
  kp_measure_begin();
  empty = kp_measure_end();
}

/* Writing the counter also sets its phase, so equal code always gives equal ticks. */
void kp_measure_begin(void) {
  SYST_CVR = 0;
  wraps = 0;
}

uint64_t kp_measure_end(void) {
  uint32_t seen, value;
  do { /* again if the counter wrapped between the two reads */
    seen = wraps;
    value = SYST_CVR;
  } while (seen != wraps);
  /* It counts down, and the wrap is seen when it arrives at 0. */
  const uint64_t ticks = ((uint64_t)seen << COUNTER_BITS) + ((0u - value) & COUNTER_MASK);
  return count_of(ticks, seen) - empty;
}

void kp_measure_stop(void) { SYST_CSR = 0; }
