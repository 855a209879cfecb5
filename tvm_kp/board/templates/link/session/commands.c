/* The commands of a session with a model. */

#include "commands.h"
#include "kp_model.h"
#include "measure.h"
#include "port.h"
#include "profile.h"

enum { PROFILE_BYTES = 2, COUNT_BYTES = 12 };

const uint8_t kp_identity[KP_IDENTITY_BYTES] = KP_IDENTITY;
#ifdef TVMGEN_PROFILE
struct kp_operator_count kp_operator_counts[KP_OPERATOR_COUNT + 1];
const uint16_t kp_counted_operators = KP_OPERATOR_COUNT;
#else
const uint16_t kp_counted_operators = 0;
#endif

void kp_begin(void) { (void)KP_START(); }

void kp_abandon(void) {}

static enum kp_status write(const uint8_t *body, size_t size) {
  if (size < 1) return KP_WRONG_LENGTH;
  if (body[0] >= KP_INPUT_COUNT) return KP_OUT_OF_BOUNDS;
  const struct kp_buffer input = kp_inputs[body[0]];
  return kp_write_part(input.data, input.size, body + 1, size - 1);
}

static enum kp_status read(const uint8_t *body, size_t size) {
  if (size < 1) return KP_WRONG_LENGTH;
  if (body[0] >= KP_OUTPUT_COUNT) return KP_OUT_OF_BOUNDS;
  const struct kp_buffer output = kp_outputs[body[0]];
  return kp_read_part(output.data, output.size, body + 1, size - 1);
}

static enum kp_status run(size_t size) {
  if (size != 0) return KP_WRONG_LENGTH;
  kp_measure_init();
#ifdef TVMGEN_PROFILE
  kp_profile_init(KP_OPERATOR_COUNT);
#endif
  kp_measure_begin();
  const int32_t status = KP_RUN();
  uint64_t count = kp_measure_end();
  kp_measure_stop();
#ifdef TVMGEN_PROFILE
  count = 0; /* the hooks have used the counter for themselves */
  for (int i = 0; i < KP_OPERATOR_COUNT; ++i) count += kp_operator_counts[i].count;
#endif
  kp_append((uint32_t)status, 4);
  kp_append(count, 8);
  return KP_OK;
}

static enum kp_status reset(size_t size) {
  if (size != 0) return KP_WRONG_LENGTH;
  kp_append((uint32_t)KP_START(), 4);
  return KP_OK;
}

static enum kp_status profile(const uint8_t *body, size_t size) {
#ifdef TVMGEN_PROFILE
  if (size != PROFILE_BYTES) return KP_WRONG_LENGTH;
  size_t index = (size_t)kp_get(body, PROFILE_BYTES);
  if (index > KP_OPERATOR_COUNT) return KP_OUT_OF_BOUNDS;
  for (; index < KP_OPERATOR_COUNT && kp_reply_room() >= COUNT_BYTES; ++index) {
    kp_append(kp_operator_counts[index].count, 8);
    kp_append(kp_operator_counts[index].calls, 4);
  }
  return KP_OK;
#else
  (void)body;
  (void)size;
  return KP_UNKNOWN_COMMAND;
#endif
}

static enum kp_status memory(size_t size) {
  if (size != 0) return KP_WRONG_LENGTH;
  kp_append(kp_stack_size(), 4);
  kp_append(kp_stack_used(), 4);
  return KP_OK;
}

enum kp_status kp_execute(uint8_t command, const uint8_t *body, size_t size) {
  switch (command) {
    case KP_WRITE: return write(body, size);
    case KP_RUN: return run(size);
    case KP_READ: return read(body, size);
    case KP_RESET: return reset(size);
    case KP_PROFILE: return profile(body, size);
    case KP_MEMORY: return memory(size);
    default: return KP_UNKNOWN_COMMAND;
  }
}
