/* Counts of single operators: the hooks that a model calls if TVMGEN_PROFILE is defined. */
#ifndef KP_PROFILE_H
#define KP_PROFILE_H

#include <stdint.h>

/* The count and the calls of one operator. */
struct kp_operator_count {
  uint64_t count;
  uint32_t calls;
};

/* One an operator, and one for what hooks around nothing count; defined where the model is known. */
extern struct kp_operator_count kp_operator_counts[];

/* To be called after measuring was set up, with the number of operators; all counts are 0 then. */
void kp_profile_init(int32_t operators);

void tvmgen_profile_begin(int32_t op);
void tvmgen_profile_end(int32_t op);

#endif
