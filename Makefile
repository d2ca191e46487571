# Lockstep. `make help` lists what you can ask for.
CC ?= cc
CFLAGS ?= -O3 -g
ifdef PORTABLE # runs on other machines too: x86-64-v3, or the architecture as it is
ARCH ?= $(if $(filter x86_64 amd64,$(shell uname -m)),-march=x86-64-v3)
else
ARCH ?= $(if $(filter arm64,$(shell uname -m)),-mcpu=native,-march=native)
endif
BUILD ?= build

# The arithmetic contract (notes/03-arithmetic.md) stands on these. They come last, so that no
# CFLAGS can undo them. clang's -fno-fast-math allows contraction again, and warns where CFLAGS
# asked for more of it: so off stands on both sides.
CONTRACT := -std=c17 -ffp-contract=off -fno-fast-math -ffp-contract=off -fno-math-errno
# What has to be asked of the compiler or pkg-config is asked once, when a recipe first needs it:
# `make deps bench` installs them first.
once = $(eval $(1) := $(2))$($(1))
WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror $(NO_PASS_FAILED)
# clang warns of every `omp simd` loop that it does not turn into vectors, as under a sanitizer; gcc
# does not know the word.
NO_PASS_FAILED = $(call once,NO_PASS_FAILED,$(shell $(CC) -Wpass-failed -xc -c -o /dev/null /dev/null 2>/dev/null && echo -Wno-pass-failed))
# 512-bit vectors where the machine has them: compilers of 2022 prefer 256, at half the speed.
WIDE = $(call once,WIDE,$(shell echo 'int x;' | $(CC) $(ARCH) -mprefer-vector-width=512 -xc -c -o /dev/null - 2>/dev/null && \
         echo -mprefer-vector-width=512))
PACKAGES := jansson libpcre2-8 libmd libxxhash libmicrohttpd
PKG_CFLAGS = $(call once,PKG_CFLAGS,$(shell pkg-config --cflags $(PACKAGES) 2>/dev/null))
PKG_LIBS = $(call once,PKG_LIBS,$(shell pkg-config --libs $(PACKAGES) 2>/dev/null))
ifeq ($(shell uname),Darwin)
OPENMP = -Xpreprocessor -fopenmp -I$(shell brew --prefix libomp)/include
OPENMP_LIBS = -L$(shell brew --prefix libomp)/lib -lomp
else
OPENMP := -fopenmp
OPENMP_LIBS := -fopenmp
endif
COMPILE = $(CC) -I. -D_DEFAULT_SOURCE -D_DARWIN_C_SOURCE -DSOURCE_DIR='"$(CURDIR)"' -DBUILD_DIR='"$(abspath $(BUILD))"' \
          -MMD -MP $(CFLAGS) $(SANITIZE) $(ARCH) $(WIDE) $(OPENMP) $(PKG_CFLAGS) $(WARNINGS) $(CONTRACT)
LINK = $(CC) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(OPENMP_LIBS) $(PKG_LIBS) -lm

# The objects of the rooms $(1): of each the .c files in it and in the rooms inside.
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(foreach room,$(1),$(wildcard $(room)/*.c $(room)/*/*.c $(room)/*/*/*.c)))
object = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
COMMON := $(filter-out $(call object,common/text/tokenize.c),$(call objects,common))
BENCH := $(filter-out $(call object,bench/main.c),$(call objects,bench))
# What serves is of build/kvcache alone: build/bench links without libmicrohttpd.
SERVE := $(call objects,kvcache/serve)
DECODERS := $(filter-out %/main.o $(SERVE),$(call objects,naive kvcache))

all: $(BUILD)/naive $(BUILD)/kvcache $(BUILD)/tokenize $(BUILD)/bench ## build the programs

$(BUILD)/naive: $(call objects,naive) $(COMMON)
	$(LINK)
$(BUILD)/kvcache: $(call objects,kvcache) $(COMMON)
	$(LINK)
$(BUILD)/tokenize: $(call object,common/text/tokenize.c) $(COMMON)
	$(LINK)
$(BUILD)/bench: $(BUILD)/obj/bench/main.o $(BENCH) $(DECODERS) $(COMMON)
	$(LINK)

# A change of compiler or flags rebuilds what it touches.
$(BUILD)/flags: FORCE | $(filter deps,$(MAKECMDGOALS))
	@pkg-config --exists $(PACKAGES) 2>/dev/null || { echo "libraries are missing: run 'make deps'" >&2; exit 1; }
	@mkdir -p $(@D); echo '$(COMPILE)' | cmp -s - $@ || echo '$(COMPILE)' > $@
$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(OWN) -c -o $@ $<
# The products are most of the work, and sanitizers make them fifty times slower: guard pages in
# tests/decoders/kernel.c and width.c watch them instead, and valgrind with narrow keys and values.
$(patsubst %,$(BUILD)/%.o,$(foreach of,kernel widen,obj/common/math/$(of) pic/common/math/$(of))): \
  OWN = $(if $(SANITIZE),-O3 -fno-sanitize=all)
# Without optimising clang gives every vector that is inlined a place of its own on the stack: more
# than the 8 MiB there are.
ifneq ($(filter -O0,$(CFLAGS)),)
$(BUILD)/obj/common/math/widen.o $(BUILD)/pic/common/math/widen.o: OWN = -O1
endif
# context.json says how the program was built.
$(call object,bench/base/machine.c): OWN = -DBUILD_FLAGS='"$(strip $(CFLAGS) $(ARCH) $(WIDE) $(CONTRACT))"'

bench: all ## verify, measure and plot (QUICK=1: a first look; MODEL=DIR: that checkpoint)
	$(BUILD)/bench all$(if $(QUICK), --quick)$(if $(MODEL), -m '$(MODEL)')
	@$(MAKE) --no-print-directory plots

# Your own decoder as a plug-in: common/ goes inside, and nothing but lockstep_decoder is seen from
# outside.
PARTS := $(patsubst %.c,$(BUILD)/pic/%.o,$(wildcard common/decoder.c common/model/linear.c common/kv/*.c common/kv/*/*.c common/math/*.c common/number/*.c common/base/input.c common/file/scratch.c common/base/memory.c common/base/status.c))
MINE = $(BUILD)/mine/$(basename $(notdir $(SRC))).so
# With SANITIZE=1 in a folder of its own, build/mine-sanitized, together with a build/bench that
# can open it: a crash is then told with its line.
ifeq ($(SANITIZE),1)
mine:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/mine-sanitized CFLAGS='-O1 -g' SANITIZE=-fsanitize=address \
	  $(BUILD)/mine-sanitized/bench mine
else
ifneq ($(and $(filter mine,$(MAKECMDGOALS)),$(word 2,$(SRC))),)
$(error mine: '$(SRC)' has a space in its name, which make splits: rename it)
endif
# And what a shell would not take as part of a name.
SHELL_SIGNS := ' " ` & ; | < > ( ) * ? [ ] { } ! ~ \\
ifneq ($(and $(filter mine,$(MAKECMDGOALS)),$(strip $(foreach sign,$(SHELL_SIGNS),$(findstring $(sign),$(SRC))))),)
$(error mine: '$(SRC)' has one of $(SHELL_SIGNS) in its name, which a shell reads: rename it)
endif
# -Wno-pedantic: extensions such as _Float16 are the author's to choose.
mine: $(PARTS) ## build your own decoder as a plug-in: SRC=path.c (SANITIZE=1: to see where it crashes)
	@test -f '$(SRC)' || { echo "mine: '$(SRC)' is no file: name your decoder's, make mine SRC=path.c" >&2; exit 2; }
	@mkdir -p $(BUILD)/mine
	$(COMPILE) $(PLUGIN) -Wno-pedantic -MF $(MINE:.so=.d) -shared -o $(MINE) $(SRC) $(PARTS) -lm
	@echo "next: $(BUILD)/bench verify --decoder $(MINE)"
endif
PLUGIN := -fPIC -fvisibility=hidden
$(BUILD)/pic/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(OWN) $(PLUGIN) -c -o $@ $<

plots: | $(filter deps,$(MAKECMDGOALS)) ## draw build/results/*.csv into build/plots (PNG=1: as PNG)
	@plots/draw.sh $(BUILD)/results $(BUILD)/plots $(if $(PNG),png,svg)

report: $(BUILD)/bench ## write build/report: one page of all that was verified and measured, and one file for programs
	@$(MAKE) --no-print-directory plots PNG=
	$(BUILD)/bench report

# The first chapter quotes the decoders' diff.
notes: ## write the chapters anew that have a .in: 1 from the decoders, 6 from what `make faults mutants` found last
	@set -e; for chapter in 01-one-diff 06-bugs; do \
	  OUT=$(BUILD) sh notes/$$chapter.sh > notes/$$chapter.md.part; mv notes/$$chapter.md.part notes/$$chapter.md; done

ENVIRONMENT = CC='$(CC)' OPENMP='$(OPENMP)' OPENMP_LIBS='$(OPENMP_LIBS)'
deps: ## install what building, bench, plots and tests need (apt-get or Homebrew)
	@$(ENVIRONMENT) .ci/deps run
deps-lint: ## install what lint and sanitize need
	@$(ENVIRONMENT) .ci/deps lint

deps-fuzz: ## install what fuzz and valgrind need
	@$(ENVIRONMENT) .ci/deps fuzz

deps-matrix: ## install what matrix needs, and unpack arm64 libraries into build/matrix
	@$(ENVIRONMENT) .ci/deps matrix
	@.ci/sysroot $(BUILD)/matrix/aarch64-libraries

include tests/tests.mk

clean: ## remove everything generated
	rm -rf $(BUILD)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile tests/tests.mk

FORCE:
# What help lists are names, not files.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*## .*/\1/p' Makefile tests/tests.mk) FORCE
.DELETE_ON_ERROR:
-include $(shell find $(BUILD)/obj $(BUILD)/pic -name '*.d' 2>/dev/null)
