# Lockstep. `make help` lists what you can ask for.
CC ?= cc
CFLAGS ?= -O3 -g
ifdef PORTABLE # runs on other machines too: x86-64-v3, or the architecture as it is
ARCH ?= $(if $(filter x86_64 amd64,$(shell uname -m)),-march=x86-64-v3)
else
ARCH ?= $(if $(filter arm64,$(shell uname -m)),-mcpu=native,-march=native)
endif
BUILD ?= build

# The arithmetic contract (notes/03-arithmetic.md) stands on these. They come last, so that no CFLAGS can undo them.
CONTRACT := -std=c17 -fno-fast-math -ffp-contract=off -fno-math-errno
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
# 512-bit vectors where the machine has them: compilers of 2022 prefer 256, at half the speed.
WIDE := $(shell echo 'int x;' | $(CC) $(ARCH) -mprefer-vector-width=512 -xc -c -o /dev/null - 2>/dev/null && echo -mprefer-vector-width=512)
PACKAGES := jansson libpcre2-8 libmd
HAVE := $(shell pkg-config --exists $(PACKAGES) 2>/dev/null && echo yes)
PKG_CFLAGS := $(if $(HAVE),$(shell pkg-config --cflags $(PACKAGES)))
PKG_LIBS := $(if $(HAVE),$(shell pkg-config --libs $(PACKAGES)))
ifeq ($(shell uname),Darwin)
OPENMP := -Xpreprocessor -fopenmp -I$(shell brew --prefix libomp)/include
OPENMP_LIBS := -L$(shell brew --prefix libomp)/lib -lomp
else
OPENMP := -fopenmp
OPENMP_LIBS := -fopenmp
endif
COMPILE = $(CC) -I. -D_DEFAULT_SOURCE -D_DARWIN_C_SOURCE -DSOURCE_DIR='"$(CURDIR)"' -MMD -MP $(CFLAGS) $(ARCH) $(WIDE) $(OPENMP) \
          $(PKG_CFLAGS) $(WARNINGS) $(CONTRACT)
LINK = $(CC) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(OPENMP_LIBS) $(PKG_LIBS) -lm
CFLAGS += $(SANITIZE)

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard $(1)))
MAINS := common/tokenize.c
COMMON := $(filter-out $(call objects,$(MAINS)),$(call objects,common/*.c))
BENCH := $(filter-out $(BUILD)/obj/bench/main.o,$(call objects,bench/*.c))
DECODERS := $(BUILD)/obj/naive/decoder.o $(BUILD)/obj/kvcache/decoder.o

all: $(BUILD)/naive $(BUILD)/kvcache $(BUILD)/tokenize $(BUILD)/bench ## build the programs

$(BUILD)/naive: $(call objects,naive/*.c) $(COMMON)
	$(LINK)
$(BUILD)/kvcache: $(call objects,kvcache/*.c) $(COMMON)
	$(LINK)
$(BUILD)/tokenize: $(BUILD)/obj/common/tokenize.o $(COMMON)
	$(LINK)
$(BUILD)/bench: $(BUILD)/obj/bench/main.o $(BENCH) $(DECODERS) $(COMMON)
	$(LINK)

# A change of compiler or flags rebuilds what it touches.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D); echo '$(COMPILE)' | cmp -s - $@ || echo '$(COMPILE)' > $@
$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(OWN) -c -o $@ $<
# context.json says how the program was built.
$(BUILD)/obj/bench/machine.o: OWN = -DBUILD_FLAGS='"$(strip $(CFLAGS) $(ARCH) $(WIDE) $(CONTRACT))"'

bench: all ## verify, measure and plot (QUICK=1: a first look; MODEL=DIR: that checkpoint)
	$(BUILD)/bench all $(if $(QUICK),--quick) $(if $(MODEL),-m '$(MODEL)')
	@$(MAKE) --no-print-directory plots

test: $(BUILD)/tests ## run all tests
	$(BUILD)/tests
$(BUILD)/tests: $(call objects,tests/*.c) $(BENCH) $(DECODERS) $(COMMON)
	$(LINK) $(shell pkg-config --libs criterion)

clean: ## remove everything generated
	rm -rf $(BUILD)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

FORCE:
.PHONY: all bench test clean help FORCE
.DELETE_ON_ERROR:
-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
