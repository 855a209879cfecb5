/* How a fault ends: whoever includes this decides where its line goes. */
#ifndef KP_FAULT_H
#define KP_FAULT_H

/* Takes "FAULT" and the registers, without an end of line. */
void kp_fault_report(const char *line) __attribute__((noreturn));

#endif
