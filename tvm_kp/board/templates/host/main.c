/* The model as a shared library whose buffers a process fills and reads. */

#include <stdint.h>

#include "kp_model.h"

void *kp_host_input(int32_t index);
void *kp_host_output(int32_t index);
int32_t kp_host_start(void);
int32_t kp_host_run(void);

#ifdef TVMGEN_TRACE
typedef void (*kp_trace)(int32_t op, int32_t output, const void *data, int32_t bytes);
void kp_host_trace(kp_trace to);
void tvmgen_trace(int32_t op, int32_t output, const void *data, int32_t bytes);

static kp_trace trace;

void kp_host_trace(kp_trace to) { trace = to; }

void tvmgen_trace(int32_t op, int32_t output, const void *data, int32_t bytes) {
  trace(op, output, data, bytes);
}
#endif

void *kp_host_input(int32_t index) { return kp_inputs[index].data; }

void *kp_host_output(int32_t index) { return kp_outputs[index].data; }

int32_t kp_host_start(void) { return KP_START(); }

int32_t kp_host_run(void) { return KP_RUN(); }
