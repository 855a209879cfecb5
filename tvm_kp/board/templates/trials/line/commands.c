/* The commands of a firmware that kernels are tried with. */

#include "commands.h"

#include <string.h>

#include "call.h"
#include "kp_memories.h"
#include "link.h"

enum { CALL_BYTES = 6, SUMS_BYTES = 4, FILL_BYTES = 9, SUM_SIZE = 4, MEMORY_ALIGNMENT = 32 };

static void *const memory = (void *)KP_MEMORY;
static const size_t memory_size = KP_MEMORY_END - KP_MEMORY;
static uint64_t overhead;

void kp_begin(void) { overhead = kp_call_init(); }

void kp_abandon(void) { kp_call_abandon(); }

static enum kp_status call(const uint8_t *body, size_t size) {
  if (size != CALL_BYTES) return KP_WRONG_LENGTH;
  const size_t kernel = (size_t)kp_get(body, 2), offset = (size_t)kp_get(body + 2, 4);
  if (kernel >= kp_counted_operators || offset > memory_size || offset % MEMORY_ALIGNMENT != 0) {
    return KP_OUT_OF_BOUNDS;
  }
  kp_append(kp_call(kp_kernels[kernel], KP_MEMORY + offset, overhead), 8);
  return KP_OK;
}

static enum kp_status sums(const uint8_t *body, size_t size) {
  if (size != SUMS_BYTES) return KP_WRONG_LENGTH;
  size_t offset = (size_t)kp_get(body, SUMS_BYTES);
  while (offset < memory_size && kp_reply_room() >= SUM_SIZE) {
    const size_t left = memory_size - offset;
    const size_t summed = left < KP_SUM_BYTES ? left : KP_SUM_BYTES;
    kp_append(kp_crc32((const uint8_t *)memory + offset, summed), SUM_SIZE);
    offset += summed;
  }
  return KP_OK;
}

static enum kp_status fill(const uint8_t *body, size_t size) {
  if (size != FILL_BYTES) return KP_WRONG_LENGTH;
  const size_t offset = (size_t)kp_get(body, 4), filled = (size_t)kp_get(body + 4, 4);
  if (offset > memory_size || filled > memory_size - offset) return KP_OUT_OF_BOUNDS;
  memset((uint8_t *)memory + offset, body[8], filled);
  return KP_OK;
}

/* Behind a byte that says which buffer: there is but this one. */
static enum kp_status write(const uint8_t *body, size_t size) {
  if (size < 1) return KP_WRONG_LENGTH;
  return kp_write_part(memory, memory_size, body + 1, size - 1);
}

static enum kp_status read(const uint8_t *body, size_t size) {
  if (size < 1) return KP_WRONG_LENGTH;
  return kp_read_part(memory, memory_size, body + 1, size - 1);
}

enum kp_status kp_execute(uint8_t command, const uint8_t *body, size_t size) {
  switch (command) {
    case KP_WRITE: return write(body, size);
    case KP_READ: return read(body, size);
    case KP_CALL: return call(body, size);
    case KP_SUMS: return sums(body, size);
    case KP_FILL: return fill(body, size);
    default: return KP_UNKNOWN_COMMAND;
  }
}
