/* Ask a SavedModel in C, with no Python: by the loader that TensorFlow Serving uses.

       predict SAVED_MODEL NAME DTYPE SHAPE FILE [NAME DTYPE SHAPE FILE ...] -- NAME FILE [NAME FILE ...]

   Before "--" are the inputs: a tensor's name, float32 or int32, its shape as 1x33x47x3, and a file of its raw values.
   Behind it are the outputs: a tensor's name, and the file to write its raw values to; its type and shape are printed.
   The names are those that `saved_model_cli show --dir SAVED_MODEL --all` prints, such as serving_default_image:0. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

#define MOST 64
#define MOST_AXES 8

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("predict: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

/* Return the tensor of a graph that is named OPERATION:INDEX. */
static TF_Output find(TF_Graph *graph, const char *name) {
  char operation[512];
  int index = 0;
  if (strlen(name) >= sizeof operation || sscanf(name, "%511[^:]:%d", operation, &index) < 1) fail("bad tensor name %s", name);
  TF_Output found = {TF_GraphOperationByName(graph, operation), index};
  if (found.oper == NULL || index < 0 || index >= TF_OperationNumOutputs(found.oper)) fail("no tensor %s in the model", name);
  return found;
}

/* Return a tensor with the raw values of a file, which must be as long as the shape says. */
static TF_Tensor *read_tensor(const char *dtype, const char *shape, const char *path) {
  int64_t sizes[MOST_AXES], count = 1;
  int axes = 0;
  TF_DataType type = strcmp(dtype, "int32") == 0 ? TF_INT32 : TF_FLOAT;
  if (type == TF_FLOAT && strcmp(dtype, "float32") != 0) fail("dtype must be float32 or int32, not %s", dtype);
  for (const char *at = shape; *at != '\0'; at += *at == 'x') {
    char *end;
    int64_t size = strtoll(at, &end, 10);
    if (end == at || size < 0 || size > 1 << 24 || axes == MOST_AXES || (*end != 'x' && *end != '\0') || (size && count > (1LL << 40) / size))
      fail("shape must be like 1x33x47x3, not %s", shape);
    count *= sizes[axes++] = size;
    at = end;
  }
  size_t bytes = (size_t)count * TF_DataTypeSize(type);
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail("cannot read %s", path);
  TF_Tensor *tensor = TF_AllocateTensor(type, sizes, axes, bytes);
  if (tensor == NULL) fail("no memory for %zu bytes", bytes);
  if (fread(TF_TensorData(tensor), 1, bytes, file) != bytes || fgetc(file) != EOF) fail("%s must have %zu bytes", path, bytes);
  fclose(file);
  return tensor;
}

static void write_tensor(const char *name, const TF_Tensor *tensor, const char *path) {
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(TF_TensorData(tensor), 1, TF_TensorByteSize(tensor), file) != TF_TensorByteSize(tensor) || fclose(file))
    fail("cannot write %s", path);
  TF_DataType type = TF_TensorType(tensor);
  printf("%s %s ", name, type == TF_FLOAT ? "float32" : type == TF_INT32 ? "int32" : "other");
  for (int k = 0; k < TF_NumDims(tensor); k++) printf(k ? "x%lld" : "%lld", (long long)TF_Dim(tensor, k));
  putchar('\n');
}

int main(int count, char **words) {
  int inputs = 0, outputs = 0, at = 2;
  TF_Output sources[MOST], targets[MOST];
  TF_Tensor *given[MOST], *answers[MOST] = {NULL};
  if (count < 2) fail("usage: predict SAVED_MODEL NAME DTYPE SHAPE FILE ... -- NAME FILE ...");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, words[1], tags, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) fail("cannot load %s: %s", words[1], TF_Message(status));

  for (; at < count && strcmp(words[at], "--") != 0; at += 4, inputs++) {
    if (at + 3 >= count || inputs == MOST) fail("an input must be NAME DTYPE SHAPE FILE, at most %d of them", MOST);
    sources[inputs] = find(graph, words[at]);
    given[inputs] = read_tensor(words[at + 1], words[at + 2], words[at + 3]);
  }
  const int first = ++at;
  for (; at < count; at += 2, outputs++) {
    if (at + 1 >= count || outputs == MOST) fail("an output must be NAME FILE, at most %d of them", MOST);
    targets[outputs] = find(graph, words[at]);
  }
  if (outputs == 0) fail("there must be an output behind --");
  TF_SessionRun(session, NULL, sources, given, inputs, targets, answers, outputs, NULL, 0, NULL, status);
  if (TF_GetCode(status) != TF_OK) fail("cannot run: %s", TF_Message(status));
  for (int k = 0; k < outputs; k++) write_tensor(words[first + 2 * k], answers[k], words[first + 2 * k + 1]);

  for (int k = 0; k < inputs; k++) TF_DeleteTensor(given[k]);
  for (int k = 0; k < outputs; k++) TF_DeleteTensor(answers[k]);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
