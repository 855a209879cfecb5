/* What the machine has to do for the link. */
#ifndef KP_PORT_H
#define KP_PORT_H

#include <stddef.h>
#include <stdint.h>

#include "link.h"

void kp_port_init(void);
/* The next byte of the line, waited for at rest; -1 if the line has ended. */
int kp_port_read(void);
/* Returns once all is sent. */
void kp_port_write(const uint8_t *bytes, size_t size);

/* To be called early: from then on it is known how much of the stack is used. */
void kp_stack_paint(void);
/* Bytes; 0 if that is not known. */
uint32_t kp_stack_size(void);
uint32_t kp_stack_used(void);

/* Sends one frame; what main has for a port. */
void kp_send(const struct kp_payload *payload);

#endif
