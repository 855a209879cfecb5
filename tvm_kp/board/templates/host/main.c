/* The model as a shared library whose buffers a process fills and reads. */

#include <stdint.h>

#include "kp_model.h"

void *kp_host_input(int32_t index);
void *kp_host_output(int32_t index);
int32_t kp_host_start(void);
int32_t kp_host_run(void);

void *kp_host_input(int32_t index) { return kp_inputs[index].data; }

void *kp_host_output(int32_t index) { return kp_outputs[index].data; }

int32_t kp_host_start(void) { return KP_START(); }

int32_t kp_host_run(void) { return KP_RUN(); }
