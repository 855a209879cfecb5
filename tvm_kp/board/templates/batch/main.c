/* Runs the model on every record of inputs.bin and writes a record each to outputs.bin.

   inputs.bin: the number of records (uint32), then each one's inputs in order.
   outputs.bin, for each record: what run returned (int32), its instructions (uint64); with
   TVMGEN_PROFILE, for each operator, instructions (uint64) and calls (uint32); the outputs.
   trace.bin, with TVMGEN_TRACE, for each output of each call of an operator: the operator, which
   output, its bytes (uint32 each); the output.
   All little-endian, nothing between. */

#include <stdint.h>
#include <string.h>

#include "kp_model.h"
#include "measure.h"
#include "profile.h"
#include "semihosting.h"

#ifdef TVMGEN_PROFILE
struct kp_operator_count kp_operator_counts[KP_OPERATOR_COUNT + 1];
#endif

static void check(int32_t status, const char *message) {
  if (status < 0) {
    kp_print(message);
    kp_exit(2);
  }
}

static void write(int32_t file, const void *from, size_t size) {
  check(kp_write(file, from, size), "HARNESS cannot write outputs.bin\n");
}

#ifdef TVMGEN_TRACE
static int32_t trace;

void tvmgen_trace(int32_t op, int32_t output, const void *data, int32_t bytes);
void tvmgen_trace(int32_t op, int32_t output, const void *data, int32_t bytes) {
  const int32_t header[3] = {op, output, bytes};
  check(kp_write(trace, header, sizeof header), "HARNESS cannot write trace.bin\n");
  check(kp_write(trace, data, (size_t)bytes), "HARNESS cannot write trace.bin\n");
}
#endif

static void write_counts(int32_t file) {
#ifdef TVMGEN_PROFILE
  for (int i = 0; i < KP_OPERATOR_COUNT; ++i) {
    write(file, &kp_operator_counts[i].count, sizeof kp_operator_counts[i].count);
    write(file, &kp_operator_counts[i].calls, sizeof kp_operator_counts[i].calls);
  }
  memset(kp_operator_counts, 0, sizeof kp_operator_counts);
#else
  (void)file;
#endif
}

static void infer(int32_t in, int32_t out) {
  for (int i = 0; i < KP_INPUT_COUNT; ++i)
    check(kp_read(in, kp_inputs[i].data, kp_inputs[i].size), "HARNESS inputs.bin is too short\n");
  kp_measure_begin();
  const int32_t status = KP_RUN();
  const uint64_t instructions = kp_measure_end();
  write(out, &status, sizeof status);
  write(out, &instructions, sizeof instructions);
  write_counts(out);
  for (int i = 0; i < KP_OUTPUT_COUNT; ++i) write(out, kp_outputs[i].data, kp_outputs[i].size);
}

int main(void) {
  uint32_t records = 0;
  const int32_t in = kp_open("inputs.bin", KP_OPEN_READ);
  const int32_t out = kp_open("outputs.bin", KP_OPEN_WRITE);
  check(in, "HARNESS cannot open inputs.bin\n");
  check(out, "HARNESS cannot open outputs.bin\n");
#ifdef TVMGEN_TRACE
  trace = kp_open("trace.bin", KP_OPEN_WRITE);
  check(trace, "HARNESS cannot open trace.bin\n");
#endif
  check(kp_read(in, &records, sizeof records), "HARNESS inputs.bin is too short\n");
  kp_measure_init();
#ifdef TVMGEN_PROFILE
  kp_profile_init(KP_OPERATOR_COUNT);
#endif
  check(KP_START(), "HARNESS cannot reset the state\n");
  while (records-- > 0) infer(in, out);
  check(kp_close(out), "HARNESS cannot close outputs.bin\n");
  kp_exit(0);
}
