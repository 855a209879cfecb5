#include "server.h"

#include <string.h>

#include "kp_model.h"
#include "measure.h"
#include "port.h"
#include "profile.h"

enum { SESSION = 0, SEQUENCE = 2, COMMAND = 3, STATUS = KP_HEADER_BYTES }; /* places in a payload */
enum { HELLO_BYTES = 5, WRITE_BYTES = 5, READ_BYTES = 7, PROFILE_BYTES = 2 };
enum { COUNT_BYTES = 12 };

#ifdef TVMGEN_PROFILE
enum { COUNTED_OPERATORS = KP_OPERATOR_COUNT };
struct kp_operator_count kp_operator_counts[KP_OPERATOR_COUNT + 1];
#else
enum { COUNTED_OPERATORS = 0 };
#endif

/* The last reply, which is also what is known of the session: before the first there is none. */
static struct kp_payload reply;
static uint32_t nonce;
static uint16_t sessions;

static void append(uint64_t value, size_t bytes) {
  kp_put(reply.bytes + reply.size, value, bytes);
  reply.size += bytes;
}

static void append_bytes(const void *bytes, size_t size) {
  memcpy(reply.bytes + reply.size, bytes, size);
  reply.size += size;
}

static void begin_reply(uint16_t session, uint8_t sequence, uint8_t command) {
  reply.size = 0;
  append(session, 2);
  append(sequence, 1);
  append(command | (unsigned)KP_REPLY, 1);
  append(KP_OK, 1);
}

/* The part of a buffer that a request is about, or 0. */
static uint8_t *part(const struct kp_buffer *buffers, size_t count, const uint8_t *body,
                     size_t size) {
  const size_t index = body[0];
  const size_t offset = (size_t)kp_get(body + 1, 4);
  if (index >= count || offset > buffers[index].size) return 0;
  if (size > buffers[index].size - offset) return 0;
  return (uint8_t *)buffers[index].data + offset;
}

static enum kp_status write(const uint8_t *body, size_t size) {
  if (size < WRITE_BYTES) return KP_WRONG_LENGTH;
  uint8_t *const to = part(kp_inputs, KP_INPUT_COUNT, body, size - WRITE_BYTES);
  if (to == 0) return KP_OUT_OF_BOUNDS;
  memcpy(to, body + WRITE_BYTES, size - WRITE_BYTES);
  return KP_OK;
}

static enum kp_status read(const uint8_t *body, size_t size) {
  if (size != READ_BYTES) return KP_WRONG_LENGTH;
  const size_t wanted = (size_t)kp_get(body + 5, 2);
  const uint8_t *const from = part(kp_outputs, KP_OUTPUT_COUNT, body, wanted);
  if (from == 0 || wanted > KP_BODY_BYTES - 1) return KP_OUT_OF_BOUNDS;
  append_bytes(from, wanted);
  return KP_OK;
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
  append((uint32_t)status, 4);
  append(count, 8);
  return KP_OK;
}

static enum kp_status reset(size_t size) {
  if (size != 0) return KP_WRONG_LENGTH;
  append((uint32_t)KP_START(), 4);
  return KP_OK;
}

static enum kp_status profile(const uint8_t *body, size_t size) {
#ifdef TVMGEN_PROFILE
  if (size != PROFILE_BYTES) return KP_WRONG_LENGTH;
  size_t index = (size_t)kp_get(body, PROFILE_BYTES);
  if (index > KP_OPERATOR_COUNT) return KP_OUT_OF_BOUNDS;
  for (; index < KP_OPERATOR_COUNT && reply.size + COUNT_BYTES <= KP_PAYLOAD_BYTES; ++index) {
    append(kp_operator_counts[index].count, 8);
    append(kp_operator_counts[index].calls, 4);
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
  append(kp_stack_size(), 4);
  append(kp_stack_used(), 4);
  return KP_OK;
}

static enum kp_status execute(uint8_t command, const uint8_t *body, size_t size) {
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

static int answers(const uint8_t *request) {
  return reply.size != 0 && reply.bytes[COMMAND] == (request[COMMAND] | KP_REPLY);
}

/* The nonces of both sides make a session that is not the one before. */
static const struct kp_payload *hello(const uint8_t *request, size_t size) {
  static const uint8_t identity[] = KP_IDENTITY;
  const uint8_t *const body = request + KP_HEADER_BYTES;
  if (size < KP_HEADER_BYTES + HELLO_BYTES) return 0;
  const uint32_t other = (uint32_t)kp_get(body + 1, 4);
  if (reply.size != 0 && other == nonce) return answers(request) ? &reply : 0;
  nonce = other;
  begin_reply((uint16_t)((nonce ^ nonce >> 16) + ++sessions), 0, KP_HELLO);
  if (body[0] != KP_PROTOCOL) reply.bytes[STATUS] = KP_OTHER_VERSION;
  append(KP_PROTOCOL, 1);
  append_bytes(identity, sizeof identity);
  append(KP_BODY_BYTES, 2);
  append(kp_measure_unit(), 1);
  append(COUNTED_OPERATORS, 2);
  append(nonce, 4);
  (void)KP_START();
  return &reply;
}

const struct kp_payload *kp_serve(const uint8_t *request, size_t size) {
  if (request[COMMAND] == KP_HELLO) return hello(request, size);
  if (reply.size == 0 || memcmp(request, reply.bytes, SEQUENCE - SESSION) != 0) return 0;
  const uint8_t last = reply.bytes[SEQUENCE];
  if (request[SEQUENCE] == last) return answers(request) ? &reply : 0;
  if (request[SEQUENCE] != (uint8_t)(last + 1)) return 0;
  begin_reply((uint16_t)kp_get(request, 2), request[SEQUENCE], request[COMMAND]);
  const size_t before = reply.size;
  const enum kp_status status =
      execute(request[COMMAND], request + KP_HEADER_BYTES, size - KP_HEADER_BYTES);
  if (status != KP_OK) reply.size = before;
  reply.bytes[STATUS] = (uint8_t)status;
  return &reply;
}

const struct kp_payload *kp_serve_fault(const char *line) {
  const size_t size = strlen(line);
  begin_reply((uint16_t)kp_get(reply.bytes, 2), reply.bytes[SEQUENCE], KP_FAULT);
  append_bytes(line, size < KP_BODY_BYTES ? size : KP_BODY_BYTES - 1);
  return &reply;
}
