/* Counting instructions with SysTick, on an emulator where an instruction is a fixed time. */
#ifndef KP_MEASURE_H
#define KP_MEASURE_H

#include <stdint.h>

/* Instructions and calls of one operator. */
struct kp_count {
  uint64_t instructions;
  uint32_t calls;
};

void kp_measure_init(void);
void kp_measure_begin(void);
/* Instructions since begin, those of an empty measurement subtracted. */
uint64_t kp_measure_end(void);
/* No more counting, up to the next init. */
void kp_measure_stop(void);
/* Where there is a limit, what a longer measurement ends in, as an exception. */
void kp_measure_limit(void) __attribute__((noreturn));

#endif
