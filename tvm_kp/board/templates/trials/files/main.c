/* Calls kernels as inputs.bin says and writes what they leave and cost to outputs.bin.

   inputs.bin: the number of calls (uint32), then for each call a header: index of the kernel and
   size of its memory (uint32), 0 (uint64); and what lies in the memory before the call.
   outputs.bin: for each call its header, now with the instructions in place of the 0, and what lies
   in the memory after it. All little-endian, nothing between. */

#include <stdint.h>

#include "call.h"
#include "kp_memories.h"
#include "semihosting.h"

enum { MEMORY_ALIGNMENT = 32 };

struct header {
  uint32_t kernel, size;
  uint64_t instructions;
};

static void check(int32_t status, const char *message) {
  if (status < 0) {
    kp_print(message);
    kp_exit(2);
  }
}

static uintptr_t memory_of(uint32_t size) {
  return (KP_MEMORY_END - size) & ~(uintptr_t)(MEMORY_ALIGNMENT - 1);
}

static void run(int32_t in, int32_t out, uint64_t overhead) {
  struct header header;
  check(kp_read(in, &header, sizeof header), "HARNESS inputs.bin is too short\n");
  const uintptr_t memory = memory_of(header.size);
  check(kp_read(in, (void *)memory, header.size), "HARNESS inputs.bin is too short\n");
  header.instructions = kp_call(kp_kernels[header.kernel], memory, overhead);
  check(kp_write(out, &header, sizeof header), "HARNESS cannot write outputs.bin\n");
  check(kp_write(out, (const void *)memory, header.size), "HARNESS cannot write outputs.bin\n");
}

int main(void) {
  uint32_t calls = 0;
  const int32_t in = kp_open("inputs.bin", KP_OPEN_READ);
  const int32_t out = kp_open("outputs.bin", KP_OPEN_WRITE);
  check(in, "HARNESS cannot open inputs.bin\n");
  check(out, "HARNESS cannot open outputs.bin\n");
  check(kp_read(in, &calls, sizeof calls), "HARNESS inputs.bin is too short\n");
  const uint64_t overhead = kp_call_init();
  while (calls-- > 0) run(in, out, overhead);
  check(kp_close(out), "HARNESS cannot close outputs.bin\n");
  kp_exit(0);
}
