/* Calls kernels as inputs.bin says and writes what they leave and cost to outputs.bin.

   inputs.bin: the number of calls (uint32), then for each call a header: index of the kernel and
   size of its memory (uint32), 0 (uint64); and what lies in the memory before the call.
   outputs.bin: for each call its header, now with the instructions in place of the 0, and what lies
   in the memory after it. All little-endian, nothing between.

   The RAM, whose first part kp_memories.h divides:
     KP_RAM         stack of the kernels: there is nothing below for one that overflows
     KP_MAIN_STACK  stack of main and of exceptions: closed to kernels
     KP_VARIABLES   .data and .bss, made new for each call
     KP_MEMORY      up to KP_RAM_END: the memory of the call, at the end, so that what comes behind
                    it is a fault */

#include <stdint.h>
#include <string.h>

#include "isolate.h"
#include "kp_memories.h"
#include "measure.h"
#include "semihosting.h"

enum { CODE = 1, CONSTANTS, STACK, VARIABLES, MEMORY }; /* regions of the MPU */
enum { MEMORY_ALIGNMENT = 32 };
enum { CALL_AND_RETURN = 2 };

struct header {
  uint32_t kernel, size;
  uint64_t instructions;
};

extern const kp_kernel kp_kernels[];
extern uint32_t __data_load[], __data_start[], __data_end[], __bss_start[], __bss_end[];

static void check(int32_t status, const char *message) {
  if (status < 0) {
    kp_print(message);
    kp_exit(2);
  }
}

void kp_measure_limit(void) {
  kp_print("LIMIT\n");
  kp_exit(4);
}

static void allow_memories(void) {
  kp_isolate_init();
  kp_allow(CODE, KP_CODE, KP_CODE_END, KP_EXECUTE);
#ifdef KP_CONSTANTS
  kp_allow(CONSTANTS, KP_CONSTANTS, KP_CONSTANTS_END, KP_EXECUTE);
#endif
  kp_allow(STACK, KP_RAM, KP_MAIN_STACK, KP_WRITE);
  kp_allow(VARIABLES, KP_VARIABLES, KP_MEMORY, KP_WRITE);
}

/* A kernel may write to variables, those of the C library as well: none sees what another left. */
static void reset_variables(void) {
  memcpy(__data_start, __data_load, (uintptr_t)__data_end - (uintptr_t)__data_start);
  memset(__bss_start, 0, (uintptr_t)__bss_end - (uintptr_t)__bss_start);
}

static uint64_t measure(kp_kernel kernel, unsigned char *memory) {
  reset_variables();
  kp_measure_init();
  kp_measure_begin();
  kp_call_isolated(kernel, memory, KP_MAIN_STACK);
  const uint64_t instructions = kp_measure_end();
  kp_measure_stop(); /* the limit is not for what the harness does */
  return instructions;
}

static void nothing(unsigned char *memory) __attribute__((naked));
static void nothing(unsigned char *memory) {
  (void)memory;
  __asm volatile("bx lr");
}

/* What is not the kernel's: the way to it and back. */
static uint64_t calibrate(void) { return measure(nothing, 0) - CALL_AND_RETURN; }

static unsigned char *memory_of(uint32_t size) {
  const uint32_t room = (size + MEMORY_ALIGNMENT - 1) & ~(uint32_t)(MEMORY_ALIGNMENT - 1);
  return (unsigned char *)(KP_RAM_END - room);
}

static void run(int32_t in, int32_t out, uint64_t overhead) {
  struct header header;
  check(kp_read(in, &header, sizeof header), "HARNESS inputs.bin is too short\n");
  unsigned char *const memory = memory_of(header.size);
  check(kp_read(in, memory, header.size), "HARNESS inputs.bin is too short\n");
  kp_allow(MEMORY, (uintptr_t)memory, KP_RAM_END, KP_WRITE);
  header.instructions = measure(kp_kernels[header.kernel], memory) - overhead;
  check(kp_write(out, &header, sizeof header), "HARNESS cannot write outputs.bin\n");
  check(kp_write(out, memory, header.size), "HARNESS cannot write outputs.bin\n");
}

int main(void) {
  uint32_t calls = 0;
  const int32_t in = kp_open("inputs.bin", KP_OPEN_READ);
  const int32_t out = kp_open("outputs.bin", KP_OPEN_WRITE);
  check(in, "HARNESS cannot open inputs.bin\n");
  check(out, "HARNESS cannot open outputs.bin\n");
  check(kp_read(in, &calls, sizeof calls), "HARNESS inputs.bin is too short\n");
  allow_memories();
  const uint64_t overhead = calibrate();
  while (calls-- > 0) run(in, out, overhead);
  check(kp_close(out), "HARNESS cannot close outputs.bin\n");
  kp_exit(0);
}
