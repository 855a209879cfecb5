/* Arm semihosting: files, text and the exit status of the host that emulates or debugs us. */
#ifndef KP_SEMIHOSTING_H
#define KP_SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

enum kp_open_mode { KP_OPEN_READ = 1, KP_OPEN_WRITE = 5 };

/* A handle, or -1. */
int32_t kp_open(const char *path, enum kp_open_mode mode);
/* 0 if all `size` bytes were transferred. */
int32_t kp_read(int32_t file, void *to, size_t size);
int32_t kp_write(int32_t file, const void *from, size_t size);
int32_t kp_close(int32_t file);
void kp_print(const char *text);
void kp_exit(uint32_t status) __attribute__((noreturn));

#endif
