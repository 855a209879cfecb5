#include "call.h"

#include <string.h>

#include "fault.h"
#include "kp_memories.h"
#include "measure.h"

enum { CODE = 1, CONSTANTS, STACK, VARIABLES, MEMORY }; /* regions of the MPU */
enum { CALL_AND_RETURN = 2 };

extern uint32_t __data_start[], __bss_end[];

static size_t variables_size(void) { return (uintptr_t)__bss_end - (uintptr_t)__data_start; }

static void save_variables(void) { memcpy((void *)KP_SAVED, __data_start, variables_size()); }

void kp_call_abandon(void) { memcpy(__data_start, (const void *)KP_SAVED, variables_size()); }

void kp_measure_limit(void) { kp_fault_report("LIMIT"); }

static void allow_memories(void) {
  kp_isolate_init();
  kp_allow(CODE, KP_CODE, KP_CODE_END, KP_MAY_EXECUTE);
#ifdef KP_CONSTANTS
  kp_allow(CONSTANTS, KP_CONSTANTS, KP_CONSTANTS_END, KP_MAY_EXECUTE);
#endif
  kp_allow(STACK, KP_RAM, KP_SAVED, KP_MAY_WRITE);
  kp_allow(VARIABLES, KP_VARIABLES, KP_VARIABLES_END, KP_MAY_WRITE);
}

static void nothing(unsigned char *memory) __attribute__((naked));
static void nothing(unsigned char *memory) {
  (void)memory;
  __asm volatile("bx lr");
}

uint64_t kp_call(kp_kernel kernel, uintptr_t memory, uint64_t overhead) {
  save_variables();
  kp_allow(MEMORY, memory, KP_MEMORY_END, KP_MAY_WRITE);
  kp_measure_init();
  kp_measure_begin();
  kp_call_isolated(kernel, (unsigned char *)memory, KP_SAVED);
  const uint64_t count = kp_measure_end();
  kp_measure_stop(); /* the limit is not for what the harness does */
  kp_call_abandon();
  return count > overhead ? count - overhead : 0;
}

/* What is not the kernel's is the way to it and back. */
uint64_t kp_call_init(void) {
  allow_memories();
  return kp_call(nothing, KP_MEMORY, 0) - CALL_AND_RETURN;
}
