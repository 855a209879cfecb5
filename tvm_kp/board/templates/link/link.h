/* Frames: a payload and its CRC-32 (the one of zlib, little-endian), made free of zeros by COBS,
   and a zero. A receiver that joins late or loses bytes is in step again at the next zero. */
#ifndef KP_LINK_H
#define KP_LINK_H

#include <stddef.h>
#include <stdint.h>

/* The largest body of a message; both sides keep to it. */
#ifndef KP_BODY_BYTES
#define KP_BODY_BYTES 512
#endif

enum { KP_HEADER_BYTES = 4, KP_CRC_BYTES = 4 };
enum { KP_PAYLOAD_BYTES = KP_HEADER_BYTES + KP_BODY_BYTES };
/* With CRC, a code every 254 bytes, and the zero. */
enum { KP_FRAME_BYTES = KP_PAYLOAD_BYTES + KP_CRC_BYTES + (KP_PAYLOAD_BYTES + KP_CRC_BYTES) / 254 + 2 };

struct kp_payload {
  uint8_t bytes[KP_PAYLOAD_BYTES];
  size_t size;
};

/* All zero at the start. */
struct kp_decoder {
  uint8_t bytes[KP_PAYLOAD_BYTES + KP_CRC_BYTES];
  size_t size;
  uint8_t code; /* of the block that is being received; 0 before the first */
  uint8_t left; /* bytes of it to come */
  uint8_t overflow;
};

/* Takes the next byte of the line. Where it ends a whole and true frame, the size of its payload,
   at least a header, which stays in `bytes` up to the next call; else 0. */
size_t kp_decode(struct kp_decoder *decoder, uint8_t byte);

/* Makes the frame of a payload; its size. */
size_t kp_encode(const struct kp_payload *payload, uint8_t frame[KP_FRAME_BYTES]);

uint32_t kp_crc32(const uint8_t *bytes, size_t size);

/* Numbers of `bytes` bytes, little-endian. */
uint64_t kp_get(const uint8_t *from, size_t bytes);
void kp_put(uint8_t *to, uint64_t value, size_t bytes);

#endif
