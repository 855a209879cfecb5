/* Calling a kernel so that it can harm nothing but what it is given: without privileges, on a stack
   of its own, with the MPU open only where kp_allow says. System registers, semihosting and
   disabling interrupts need privileges, so a kernel has none of them either.

   A core without an MPU gives a kernel the stack of its own, and no more. */
#ifndef KP_ISOLATE_H
#define KP_ISOLATE_H

#include <stdint.h>

typedef void (*kp_kernel)(unsigned char *memory);

enum kp_access { KP_MAY_EXECUTE, KP_MAY_WRITE }; /* Both may be read. */

void kp_isolate_init(void);
/* Opens start to end; what `region` of the MPU (1 to 7) opened before is closed.

   More may be opened: below start up to 1 KB, as QEMU is slow where a page is not all open; and with
   an MPU of ARMv6-M or ARMv7-M, on both sides, to multiples of an eighth of the smallest power of
   two, 8 KB at least, of which one multiple has all of the range. */
void kp_allow(uint32_t region, uintptr_t start, uintptr_t end, enum kp_access access);
void kp_call_isolated(kp_kernel kernel, unsigned char *memory, uintptr_t stack_top);

#endif
