/* Run a SavedModel in C, without Python, with the loader that TensorFlow Serving uses.

       predict SAVED_MODEL SIGNATURE NAME DTYPE SHAPE FILE [NAME DTYPE SHAPE FILE ...] -- NAME FILE [NAME FILE ...]

   SIGNATURE is a signature of the model, such as serving_default. NAME is the name of an input or output of it.
   The inputs come before "--": a name, float32 or int32, a shape such as 1x33x47x3, and a file with the raw values.
   The outputs come after it: a name, and a file for the raw values. The program prints their types and shapes.

   The signature maps these names to tensors of the graph. The loader returns it as a protocol buffer; this program
   parses only the fields that lead to the names of the tensors. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

#define MOST 256
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

/* The rest of a message of a protocol buffer, which is not parsed yet. */
typedef struct {
  const unsigned char *at, *end;
} Message;

static uint64_t read_varint(Message *message) {
  uint64_t value = 0;
  for (int shift = 0; message->at < message->end && shift < 64; shift += 7) {
    unsigned char byte = *message->at++;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
  fail("cannot read the signatures of the model");
  return 0;
}

/* Find the next field with this number that is a string or a message; return whether one was found. */
static int next_field(Message *message, int number, Message *field) {
  while (message->at < message->end) {
    uint64_t tag = read_varint(message), type = tag & 7, size = 0;
    if (type == 0) read_varint(message);
    else size = type == 1 ? 8 : type == 5 ? 4 : type == 2 ? read_varint(message) : UINT64_MAX;
    if (size > (uint64_t)(message->end - message->at)) fail("cannot read the signatures of the model");
    *field = (Message){message->at, message->at + size};
    message->at += size;
    if (type == 2 && tag >> 3 == (uint64_t)number) return 1;
  }
  return 0;
}

/* Find the value of a key in the map field with this number; errors call the key `what`. */
static Message value_of(Message message, int number, const char *key, const char *what) {
  char keys[1024] = "";
  for (Message entry, name, value; next_field(&message, number, &entry);) {
    Message again = entry;
    if (!next_field(&entry, 1, &name) || !next_field(&again, 2, &value)) continue;
    const int length = (int)(name.end - name.at);
    if ((size_t)length == strlen(key) && memcmp(name.at, key, length) == 0) return value;
    const size_t used = strlen(keys);
    snprintf(keys + used, sizeof keys - used, " %.*s", length, (const char *)name.at);
  }
  fail("the model has no %s %s. It has:%s", what, key, keys);
  return message;
}

/* Return the tensor with the name OPERATION:INDEX in a graph. */
static TF_Output find(TF_Graph *graph, const char *name) {
  char operation[512];
  int index = 0;
  if (strlen(name) >= sizeof operation || sscanf(name, "%511[^:]:%d", operation, &index) < 1) fail("bad tensor name %s", name);
  TF_Output found = {TF_GraphOperationByName(graph, operation), index};
  if (found.oper == NULL || index < 0 || index >= TF_OperationNumOutputs(found.oper)) fail("the model has no tensor %s", name);
  return found;
}

/* Return the tensor of an input or output of a signature; `number` is the number of the field. */
static TF_Output named(TF_Graph *graph, Message signature, int number, const char *name, const char *what) {
  Message info = value_of(signature, number, name, what), tensor;
  char text[512];
  if (!next_field(&info, 1, &tensor) || tensor.end - tensor.at >= (long)sizeof text) fail("%s %s must be a single dense tensor", what, name);
  memcpy(text, tensor.at, tensor.end - tensor.at);
  text[tensor.end - tensor.at] = '\0';
  return find(graph, text);
}

/* Return a tensor with the raw values of a file, whose length must match the shape. */
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
  int inputs = 0, outputs = 0, at = 3;
  TF_Output sources[MOST], targets[MOST];
  TF_Tensor *given[MOST], *answers[MOST] = {NULL};
  if (count < 3) fail("usage: predict SAVED_MODEL SIGNATURE NAME DTYPE SHAPE FILE ... -- NAME FILE ...");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Buffer *definition = TF_NewBuffer();
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, words[1], tags, 1, graph, definition, status);
  if (TF_GetCode(status) != TF_OK) fail("cannot load %s: %s", words[1], TF_Message(status));
  const unsigned char *bytes = definition->data;
  /* MetaGraphDef.signature_def is field 5, SignatureDef.inputs and .outputs are 1 and 2, TensorInfo.name is 1. */
  Message signature = value_of((Message){bytes, bytes + definition->length}, 5, words[2], "signature");

  for (; at < count && strcmp(words[at], "--") != 0; at += 4, inputs++) {
    if (at + 3 >= count || inputs == MOST) fail("an input must be NAME DTYPE SHAPE FILE, at most %d of them", MOST);
    sources[inputs] = named(graph, signature, 1, words[at], "input");
    given[inputs] = read_tensor(words[at + 1], words[at + 2], words[at + 3]);
  }
  const int first = ++at;
  for (; at < count; at += 2, outputs++) {
    if (at + 1 >= count || outputs == MOST) fail("an output must be NAME FILE, at most %d of them", MOST);
    targets[outputs] = named(graph, signature, 2, words[at], "output");
  }
  if (outputs == 0) fail("at least one output is required after --");
  TF_SessionRun(session, NULL, sources, given, inputs, targets, answers, outputs, NULL, 0, NULL, status);
  if (TF_GetCode(status) != TF_OK) fail("cannot run: %s", TF_Message(status));
  for (int k = 0; k < outputs; k++) write_tensor(words[first + 2 * k], answers[k], words[first + 2 * k + 1]);

  for (int k = 0; k < inputs; k++) TF_DeleteTensor(given[k]);
  for (int k = 0; k < outputs; k++) TF_DeleteTensor(answers[k]);
  TF_DeleteBuffer(definition);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
