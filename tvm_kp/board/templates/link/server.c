#include "server.h"

#include <string.h>

#include "commands.h"
#include "measure.h"

enum { SESSION = 0, SEQUENCE = 2, COMMAND = 3, STATUS = KP_HEADER_BYTES }; /* places in a payload */
enum { HELLO_BYTES = 5, OFFSET_BYTES = 4, SIZE_BYTES = 2 };

/* The last reply, which is also what is known of the session: before the first there is none. */
static struct kp_payload reply;
static uint32_t nonce;
static uint16_t sessions;

void kp_append(uint64_t value, size_t bytes) {
  kp_put(reply.bytes + reply.size, value, bytes);
  reply.size += bytes;
}

void kp_append_bytes(const void *bytes, size_t size) {
  memcpy(reply.bytes + reply.size, bytes, size);
  reply.size += size;
}

size_t kp_reply_room(void) { return KP_PAYLOAD_BYTES - reply.size; }

static void begin_reply(uint16_t session, uint8_t sequence, uint8_t command) {
  reply.size = 0;
  kp_append(session, 2);
  kp_append(sequence, 1);
  kp_append(command | (unsigned)KP_REPLY, 1);
  kp_append(KP_OK, 1);
}

/* Where a part of a buffer begins; 0 if it is not all there. */
static uint8_t *part(void *data, size_t room, const uint8_t *place, size_t size) {
  const size_t offset = (size_t)kp_get(place, OFFSET_BYTES);
  if (offset > room || size > room - offset) return 0;
  return (uint8_t *)data + offset;
}

enum kp_status kp_write_part(void *data, size_t room, const uint8_t *place, size_t size) {
  if (size < OFFSET_BYTES) return KP_WRONG_LENGTH;
  size -= OFFSET_BYTES;
  uint8_t *const to = part(data, room, place, size);
  if (to == 0) return KP_OUT_OF_BOUNDS;
  memcpy(to, place + OFFSET_BYTES, size);
  return KP_OK;
}

enum kp_status kp_read_part(void *data, size_t room, const uint8_t *place, size_t size) {
  if (size != OFFSET_BYTES + SIZE_BYTES) return KP_WRONG_LENGTH;
  const size_t wanted = (size_t)kp_get(place + OFFSET_BYTES, SIZE_BYTES);
  const uint8_t *const from = part(data, room, place, wanted);
  if (from == 0 || wanted > kp_reply_room()) return KP_OUT_OF_BOUNDS;
  kp_append_bytes(from, wanted);
  return KP_OK;
}

static int answers(const uint8_t *request) {
  return reply.size != 0 && reply.bytes[COMMAND] == (request[COMMAND] | KP_REPLY);
}

/* The nonces of both sides make a session that is not the one before. */
static const struct kp_payload *hello(const uint8_t *request, size_t size) {
  const uint8_t *const body = request + KP_HEADER_BYTES;
  if (size < KP_HEADER_BYTES + HELLO_BYTES) return 0;
  const uint32_t other = (uint32_t)kp_get(body + 1, 4);
  if (reply.size != 0 && other == nonce) return answers(request) ? &reply : 0;
  nonce = other;
  begin_reply((uint16_t)((nonce ^ nonce >> 16) + ++sessions), 0, KP_HELLO);
  if (body[0] != KP_PROTOCOL) reply.bytes[STATUS] = KP_OTHER_VERSION;
  kp_append(KP_PROTOCOL, 1);
  kp_append_bytes(kp_identity, KP_IDENTITY_BYTES);
  kp_append(KP_BODY_BYTES, 2);
  kp_append(kp_measure_unit(), 1);
  kp_append(kp_counted_operators, 2);
  kp_append(nonce, 4);
  kp_begin();
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
      kp_execute(request[COMMAND], request + KP_HEADER_BYTES, size - KP_HEADER_BYTES);
  if (status != KP_OK) reply.size = before;
  reply.bytes[STATUS] = (uint8_t)status;
  return &reply;
}

const struct kp_payload *kp_serve_fault(const char *line) {
  kp_abandon();
  const size_t size = strlen(line);
  begin_reply((uint16_t)kp_get(reply.bytes, 2), reply.bytes[SEQUENCE], KP_FAULT);
  kp_append_bytes(line, size < KP_BODY_BYTES ? size : KP_BODY_BYTES - 1);
  return &reply;
}
