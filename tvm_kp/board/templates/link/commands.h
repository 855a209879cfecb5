/* What server.c needs of the commands that a firmware has beside HELLO, and gives them. */
#ifndef KP_COMMANDS_H
#define KP_COMMANDS_H

#include <stddef.h>
#include <stdint.h>

#include "server.h"

enum { KP_IDENTITY_BYTES = 8 };

/* What tells what runs here from anything else. */
extern const uint8_t kp_identity[KP_IDENTITY_BYTES];
extern const uint16_t kp_counted_operators;

/* A session begins. */
void kp_begin(void);
/* Executes a command and appends to the reply what it answers. */
enum kp_status kp_execute(uint8_t command, const uint8_t *body, size_t size);
/* A fault is to be told: what the command that faulted has done to the server is undone. */
void kp_abandon(void);

/* Numbers of `bytes` bytes, or bytes as they are, for which there is room in the reply. */
void kp_append(uint64_t value, size_t bytes);
void kp_append_bytes(const void *bytes, size_t size);
size_t kp_reply_room(void);

/* WRITE and READ of a buffer, behind the byte that says which: offset u32, and the bytes or their
   number u16. */
enum kp_status kp_write_part(void *data, size_t room, const uint8_t *place, size_t size);
enum kp_status kp_read_part(void *data, size_t room, const uint8_t *place, size_t size);

#endif
