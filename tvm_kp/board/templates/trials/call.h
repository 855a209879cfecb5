/* Calling the kernels of an image, each on memory that somebody has filled.

   The RAM, which kp_memories.h divides:
     KP_RAM         stack of the kernels: there is nothing below for one that overflows
     KP_SAVED       what the variables were before the call: closed to kernels
     KP_MAIN_STACK  stack of main and of exceptions: closed to kernels
     KP_VARIABLES   .data, .noinit and .bss, those of the harness and of the C library as well
     KP_MEMORY      the largest memory of a call; all end at KP_MEMORY_END, so that what comes behind
                    is a fault */
#ifndef KP_CALL_H
#define KP_CALL_H

#include <stdint.h>

#include "isolate.h"

extern const kp_kernel kp_kernels[];

/* To be called first. The count that every call of kp_call has too much. */
uint64_t kp_call_init(void);
/* The count of one call with the memory from an address, a multiple of 32, to KP_MEMORY_END. A kernel
   finds the variables as they were before the first call, and whatever it does to them is undone. */
uint64_t kp_call(kp_kernel kernel, uintptr_t memory, uint64_t overhead);
/* The same for a call that does not end. */
void kp_call_abandon(void);

#endif
