/* A process: the line is its standard input and output, a count is time. */

#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"
#include "port.h"

static uint64_t begin;

void kp_port_init(void) {}

int kp_port_read(void) {
  static uint8_t bytes[KP_FRAME_BYTES];
  static ssize_t size, next;
  if (next == size) {
    next = 0;
    size = read(STDIN_FILENO, bytes, sizeof bytes);
    if (size <= 0) return -1;
  }
  return bytes[next++];
}

void kp_port_write(const uint8_t *bytes, size_t size) {
  while (size > 0) {
    const ssize_t written = write(STDOUT_FILENO, bytes, size);
    if (written <= 0) _exit(1); /* nobody listens any more */
    bytes += written;
    size -= (size_t)written;
  }
}

void kp_stack_paint(void) {}

uint32_t kp_stack_size(void) { return 0; }

uint32_t kp_stack_used(void) { return 0; }

static uint64_t now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

enum kp_unit kp_measure_unit(void) { return KP_NANOSECONDS; }

void kp_measure_init(void) {}

void kp_measure_begin(void) { begin = now(); }

uint64_t kp_measure_end(void) { return now() - begin; }

void kp_measure_stop(void) {}
