#include "link.h"

enum { FULL_BLOCK = 0xFF }; /* 254 bytes follow its code, and no zero is meant behind them */

struct encoder {
  uint8_t *frame;
  size_t size;
  size_t code; /* where the code of the open block is */
};

uint64_t kp_get(const uint8_t *from, size_t bytes) {
  uint64_t value = 0;
  while (bytes-- > 0) value = value << 8 | from[bytes];
  return value;
}

void kp_put(uint8_t *to, uint64_t value, size_t bytes) {
  for (; bytes > 0; --bytes, value >>= 8) *to++ = (uint8_t)(value & 0xFFu);
}

uint32_t kp_crc32(const uint8_t *bytes, size_t size) {
  uint32_t crc = 0xFFFFFFFFu;
  while (size-- > 0) {
    crc ^= *bytes++;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
  }
  return ~crc;
}

static void receive(struct kp_decoder *decoder, uint8_t byte) {
  if (decoder->size == sizeof decoder->bytes) {
    decoder->overflow = 1;
    return;
  }
  decoder->bytes[decoder->size++] = byte;
}

/* The size of what was received without its CRC, if that is right. */
static size_t check(const struct kp_decoder *decoder) {
  if (decoder->left != 0 || decoder->overflow) return 0;
  if (decoder->size < KP_HEADER_BYTES + KP_CRC_BYTES) return 0;
  const size_t size = decoder->size - KP_CRC_BYTES;
  return kp_get(decoder->bytes + size, KP_CRC_BYTES) == kp_crc32(decoder->bytes, size) ? size : 0;
}

size_t kp_decode(struct kp_decoder *decoder, uint8_t byte) {
  if (byte == 0) {
    const size_t size = check(decoder);
    decoder->size = 0;
    decoder->code = decoder->left = decoder->overflow = 0;
    return size;
  }
  if (decoder->left > 0) {
    --decoder->left;
    receive(decoder, byte);
    return 0;
  }
  if (decoder->code != 0 && decoder->code != FULL_BLOCK) receive(decoder, 0);
  decoder->code = byte;
  decoder->left = (uint8_t)(byte - 1);
  return 0;
}

static void open_block(struct encoder *encoder) {
  encoder->code = encoder->size++;
  encoder->frame[encoder->code] = 1;
}

static void send(struct encoder *encoder, const uint8_t *bytes, size_t size) {
  for (; size > 0; --size, ++bytes) {
    if (encoder->frame[encoder->code] == FULL_BLOCK) open_block(encoder);
    if (*bytes == 0) {
      open_block(encoder);
    } else {
      encoder->frame[encoder->size++] = *bytes;
      ++encoder->frame[encoder->code];
    }
  }
}

size_t kp_encode(const struct kp_payload *payload, uint8_t frame[KP_FRAME_BYTES]) {
  struct encoder encoder = {frame, 0, 0};
  uint8_t crc[KP_CRC_BYTES];
  kp_put(crc, kp_crc32(payload->bytes, payload->size), sizeof crc);
  open_block(&encoder);
  send(&encoder, payload->bytes, payload->size);
  send(&encoder, crc, sizeof crc);
  frame[encoder.size++] = 0;
  return encoder.size;
}
