#include "semihosting.h"

#include <string.h>

#include "fault.h"

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE0 = 0x04, SYS_WRITE = 0x05, SYS_READ = 0x06 };
enum { SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026 };

static uint32_t call(uint32_t operation, const void *block) {
  register uint32_t r0 __asm("r0") = operation;
  register const void *r1 __asm("r1") = block;
  __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

int32_t kp_open(const char *path, enum kp_open_mode mode) {
  const uintptr_t block[3] = {(uintptr_t)path, (uintptr_t)mode, strlen(path)};
  return (int32_t)call(SYS_OPEN, block);
}

/* Both transfers answer the number of bytes that were not transferred. */
static int32_t transfer(uint32_t operation, int32_t file, uintptr_t data, size_t size) {
  const uintptr_t block[3] = {(uintptr_t)file, data, size};
  return call(operation, block) == 0 ? 0 : -1;
}

int32_t kp_read(int32_t file, void *to, size_t size) {
  return transfer(SYS_READ, file, (uintptr_t)to, size);
}

int32_t kp_write(int32_t file, const void *from, size_t size) {
  return transfer(SYS_WRITE, file, (uintptr_t)from, size);
}

int32_t kp_close(int32_t file) {
  const uintptr_t block[1] = {(uintptr_t)file};
  return (int32_t)call(SYS_CLOSE, block);
}

void kp_print(const char *text) { (void)call(SYS_WRITE0, text); }

void kp_exit(uint32_t status) {
  const uintptr_t block[2] = {APPLICATION_EXIT, status};
  for (;;) (void)call(SYS_EXIT_EXTENDED, block);
}

void kp_fault_report(const char *line) {
  kp_print(line);
  kp_print("\n");
  kp_exit(3);
}
