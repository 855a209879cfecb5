/* What a host may send to a firmware, for libFuzzer; and, alone, for streams from stdin, each a
   length (u16, little-endian) and so many bytes.

   The first byte of a stream chooses: raw bytes of a line, or messages (command u8, size of the
   body u16, body) of a session that is in step. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link.h"
#include "measure.h"
#include "port.h"
#include "server.h"

enum kp_unit kp_measure_unit(void) { return KP_CYCLES; }
void kp_measure_init(void) {}
void kp_measure_begin(void) {}
uint64_t kp_measure_end(void) { return 1; }
void kp_measure_stop(void) {}
uint32_t kp_stack_size(void) { return 2; }
uint32_t kp_stack_used(void) { return 1; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kp_decoder decoder;

static void require(int condition) {
  if (!condition) abort();
}

/* The frame of any reply must be taken by the other side as what it was. */
static void receive(const struct kp_payload *reply) {
  static uint8_t frame[KP_FRAME_BYTES];
  struct kp_decoder other = {0};
  require(reply->size > KP_HEADER_BYTES && reply->size <= KP_PAYLOAD_BYTES);
  const size_t size = kp_encode(reply, frame);
  require(size <= sizeof frame && memchr(frame, 0, size) == frame + size - 1);
  for (size_t i = 0; i + 1 < size; ++i) require(kp_decode(&other, frame[i]) == 0);
  require(kp_decode(&other, 0) == reply->size);
  require(memcmp(other.bytes, reply->bytes, reply->size) == 0);
}

static const struct kp_payload *feed(const uint8_t *bytes, size_t size) {
  const struct kp_payload *last = 0;
  for (; size > 0; --size, ++bytes) {
    const size_t payload = kp_decode(&decoder, *bytes);
    const struct kp_payload *const reply = payload > 0 ? kp_serve(decoder.bytes, payload) : 0;
    if (reply != 0) receive(reply);
    if (reply != 0) last = reply;
  }
  return last;
}

static const struct kp_payload *ask(const struct kp_payload *request) {
  static uint8_t frame[KP_FRAME_BYTES];
  return feed(frame, kp_encode(request, frame));
}

static void converse(const uint8_t *data, size_t size) {
  static struct kp_payload request;
  static uint32_t nonce;
  memset(request.bytes, 0, sizeof request.bytes);
  request.bytes[3] = KP_HELLO;
  request.bytes[4] = KP_PROTOCOL;
  kp_put(request.bytes + 5, ++nonce, 4);
  request.size = 9;
  const struct kp_payload *reply = ask(&request);
  require(reply != 0);
  memcpy(request.bytes, reply->bytes, 2);
  while (size >= 3) {
    size_t body = (size_t)kp_get(data + 1, 2) % (KP_BODY_BYTES + 1);
    if (body > size - 3) body = size - 3;
    request.bytes[2] = (uint8_t)(request.bytes[2] + 1);
    request.bytes[3] = data[0];
    memcpy(request.bytes + KP_HEADER_BYTES, data + 3, body);
    request.size = KP_HEADER_BYTES + body;
    reply = ask(&request);
    /* A HELLO in between begins another session, or is ignored. */
    require(reply != 0 || data[0] == KP_HELLO);
    if (data[0] == KP_HELLO) return;
    data += 3 + body;
    size -= 3 + body;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint8_t zero[1];
  (void)feed(zero, 1);
  if (size > 0 && data[0] % 2 == 0) (void)feed(data + 1, size - 1);
  if (size > 0 && data[0] % 2 != 0) converse(data + 1, size - 1);
  return 0;
}

#ifdef KP_STANDALONE
int main(void) {
  static uint8_t data[1 << 16];
  uint8_t length[2];
  while (fread(length, 1, 2, stdin) == 2) {
    const size_t size = (size_t)kp_get(length, 2);
    require(fread(data, 1, size, stdin) == size);
    (void)LLVMFuzzerTestOneInput(data, size);
  }
  return 0;
}
#endif
