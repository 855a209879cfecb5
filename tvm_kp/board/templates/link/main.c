/* Answers the commands of a host, one frame after the other. */

#include "link.h"
#include "port.h"
#include "server.h"

void kp_send(const struct kp_payload *payload) {
  static uint8_t frame[KP_FRAME_BYTES];
  kp_port_write(frame, kp_encode(payload, frame));
}

int main(void) {
  static struct kp_decoder decoder;
  kp_stack_paint();
  kp_port_init();
  for (int byte = kp_port_read(); byte >= 0; byte = kp_port_read()) {
    const size_t size = kp_decode(&decoder, (uint8_t)byte);
    const struct kp_payload *const reply = size > 0 ? kp_serve(decoder.bytes, size) : 0;
    if (reply != 0) kp_send(reply);
  }
  return 0;
}
