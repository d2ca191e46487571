// What tests share: temporary directories, model files made to order (and then spoilt), and checks
// of messages.
#ifndef LOCKSTEP_TESTS_SUPPORT_H
#define LOCKSTEP_TESTS_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/model/config.h"

enum { SUPPORT_PATH = 512, SUPPORT_TENSORS = 64, SUPPORT_NAME = 64 };

// A fresh directory below $TMPDIR, or else in memory or /tmp; support_remove_dir removes it with
// the files in it.
void support_make_dir(char dir[SUPPORT_PATH]);

// The same for each test of a suite, which runs in it: for .init and .fini.
extern char support_folder[SUPPORT_PATH];
void support_enter_folder(void);
void support_leave_folder(void);
void support_remove_dir(const char *dir);

// Writes n bytes to DIR/NAME.
void support_write(const char *dir, const char *name, const void *bytes, size_t n);

// The bytes of DIR/NAME, a zero behind them, to be freed; fails the test if there is no such file.
char *support_read(const char *dir, const char *name, size_t *n);

// How many files DIR has.
size_t support_count(const char *dir);

// Fails the test unless s is a failure in one line that holds each of `parts`, which are separated
// by '|'.
void support_assert_refused(status s, const char *parts);

// A safetensors file: length, header, data. `length` is what the file says its header has.
void support_write_safetensors(const char *dir, const char *name, uint64_t length,
                               const char *header, const void *data, size_t data_bytes);

// How GPT-2's files spell a byte (bytes_to_unicode in openai/gpt-2, src/encoder.py), in UTF-8.
void support_spell(unsigned char byte, char out[3]);

// Writes DIR/merges.txt, and the vocab.json that numbers its tokens as OpenAI does: 256 bytes, what
// the lines make, <|endoftext|>. Lines that are no merges make no tokens.
void support_write_tokenizer(const char *dir, const char *merges);

// That vocabulary as JSON text, to be freed.
char *support_vocabulary(const char *merges);

// One tensor of a file to be written. Values are arbitrary bits, all finite.
typedef struct support_tensor {
    char name[SUPPORT_NAME];
    char dtype[8]; // F32, F16, BF16, U8; any other has 4 bytes an element
    size_t rank, shape[4];
    unsigned char *data;
    size_t bytes;
} support_tensor;

// The files of a GPT-2, in memory: change what you like, then write them.
typedef struct support_model {
    config config;
    support_tensor tensors[SUPPORT_TENSORS];
    size_t count;
} support_model;

// All tensors of a tied GPT-2 with these numbers, in one dtype, each name after `prefix`.
support_model *support_model_make(config c, const char *dtype, const char *prefix);
void support_model_free(support_model *m);

support_tensor *support_model_add(support_model *m, const char *name, const char *dtype,
                                  size_t rank, const size_t *shape);
support_tensor *support_model_find(support_model *m, const char *name); // NULL if there is none
void support_model_drop(support_model *m, const char *name);

// Writes DIR/config.json and DIR/model.safetensors; or the tensors alone, to DIR/NAME.
void support_model_write(const support_model *m, const char *dir);
void support_model_write_weights(const support_model *m, const char *dir, const char *name);

// Element i of a tensor, widened by arithmetic instead of bit patterns.
float support_tensor_value(const support_tensor *t, size_t i);

// An array of zeros that ends where a page that nobody may touch begins: whatever reads or writes
// beyond it ends the test, in every build.
void *support_guarded(size_t n, size_t size);
void support_guarded_free(void *array, size_t n, size_t size);

#endif
