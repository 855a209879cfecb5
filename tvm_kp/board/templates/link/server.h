/* The commands of a host, answered one at a time.

   A payload is a header (session u16, sequence u8, command u8) and a body; numbers are
   little-endian. A reply has its request's header, the command with KP_REPLY, and begins with a
   status (u8); other statuses than KP_OK end it.

   command     body of the request            rest of the body of the reply
   HELLO       version u8, nonce u32          version u8, identity of the model 8 bytes,
                                              largest body u16, unit u8, counted operators u16,
                                              nonce u32
   WRITE       input u8, offset u32, bytes
   RUN                                        what the model returned i32, count u64
   READ        output u8, offset u32,         bytes
               size u16
   RESET                                      what the model returned i32
   PROFILE     first operator u16             for as many as fit: count u64, calls u32
   MEMORY                                     bytes of stack u32, most of it used u32
   FAULT       (sent once, unasked)           the line of a fault
   CALL        kernel u16, offset u32         count u64
   SUMS        offset u32                     CRC-32 of each KP_SUM_BYTES, as many as fit
   FILL        offset u32, size u32, value u8

   CALL, SUMS and FILL are of the firmware that kernels are tried with, which has no model: its memory is
   input and output 0. The memory of a call, or what is summed, is from the offset to the end.

   HELLO begins a session, which its reply's header names, and resets the state of the model. A
   request counts if it is of this session and its sequence is the next. That of the last one is
   answered again and not executed again; any other is of the past and ignored. */
#ifndef KP_SERVER_H
#define KP_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "link.h"

enum { KP_PROTOCOL = 1, KP_REPLY = 0x80, KP_SUM_BYTES = 128 };

enum kp_command {
  KP_HELLO = 1,
  KP_WRITE,
  KP_RUN,
  KP_READ,
  KP_RESET,
  KP_PROFILE,
  KP_MEMORY,
  KP_FAULT,
  KP_CALL,
  KP_SUMS,
  KP_FILL
};

enum kp_status { KP_OK, KP_UNKNOWN_COMMAND, KP_WRONG_LENGTH, KP_OUT_OF_BOUNDS, KP_OTHER_VERSION };

/* The reply to a request of `size` bytes, at least a header; 0 if it is ignored. */
const struct kp_payload *kp_serve(const uint8_t *request, size_t size);

/* What tells the host of a fault. */
const struct kp_payload *kp_serve_fault(const char *line);

#endif
