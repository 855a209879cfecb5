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

#endif
