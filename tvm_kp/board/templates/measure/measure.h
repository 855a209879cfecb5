/* Measuring code: on an emulator instructions are counted, elsewhere time is taken. */
#ifndef KP_MEASURE_H
#define KP_MEASURE_H

#include <stdint.h>

enum kp_unit { KP_INSTRUCTIONS, KP_CYCLES, KP_NANOSECONDS };

/* What is counted. */
enum kp_unit kp_measure_unit(void);
void kp_measure_init(void);
void kp_measure_begin(void);
/* The count since begin, that of an empty measurement subtracted. */
uint64_t kp_measure_end(void);
/* No more counting, up to the next init. */
void kp_measure_stop(void);
/* Where there is a limit, what a longer measurement ends in, as an exception. */
void kp_measure_limit(void) __attribute__((noreturn));

#endif
