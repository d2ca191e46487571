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
# clang's -fno-fast-math allows contraction again, and warns where CFLAGS asked for more of it: so off stands on both sides.
CONTRACT := -std=c17 -ffp-contract=off -fno-fast-math -ffp-contract=off -fno-math-errno
# What has to be asked of the compiler or pkg-config is asked once, when a recipe first needs it: `make deps bench` installs them first.
once = $(eval $(1) := $(2))$($(1))
WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror $(NO_PASS_FAILED)
# clang warns of every `omp simd` loop that it does not turn into vectors, as under a sanitizer; gcc does not know the word.
NO_PASS_FAILED = $(call once,NO_PASS_FAILED,$(shell $(CC) -Wpass-failed -xc -c -o /dev/null /dev/null 2>/dev/null && echo -Wno-pass-failed))
# 512-bit vectors where the machine has them: compilers of 2022 prefer 256, at half the speed.
WIDE = $(call once,WIDE,$(shell echo 'int x;' | $(CC) $(ARCH) -mprefer-vector-width=512 -xc -c -o /dev/null - 2>/dev/null && \
         echo -mprefer-vector-width=512))
PACKAGES := jansson libpcre2-8 libmd
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

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard $(1)))
MAINS := common/tokenize.c tests/exhaustive.c
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
$(BUILD)/flags: FORCE | $(filter deps,$(MAKECMDGOALS))
	@pkg-config --exists $(PACKAGES) 2>/dev/null || { echo "libraries are missing: run 'make deps'" >&2; exit 1; }
	@mkdir -p $(@D); echo '$(COMPILE)' | cmp -s - $@ || echo '$(COMPILE)' > $@
$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(OWN) -c -o $@ $<
# context.json says how the program was built.
$(BUILD)/obj/bench/machine.o: OWN = -DBUILD_FLAGS='"$(strip $(CFLAGS) $(ARCH) $(WIDE) $(CONTRACT))"'

bench: all ## verify, measure and plot (QUICK=1: a first look; MODEL=DIR: that checkpoint)
	$(BUILD)/bench all$(if $(QUICK), --quick)$(if $(MODEL), -m '$(MODEL)')
	@$(MAKE) --no-print-directory plots

# Your own decoder as a plug-in: common/ goes inside, and nothing but lockstep_decoder is seen from outside.
PARTS := $(patsubst %,$(BUILD)/pic/common/%.o,activations attention kernel kv memory rowops status tap)
MINE = $(BUILD)/mine/$(basename $(notdir $(SRC))).so
mine: $(PARTS) ## build your own decoder as a plug-in: SRC=path.c
	@test -f '$(SRC)' || { echo "mine: '$(SRC)' is no file: name your decoder's, make mine SRC=path.c" >&2; exit 2; }
	@mkdir -p $(BUILD)/mine
	$(COMPILE) $(PLUGIN) -MF $(MINE:.so=.d) -shared -o $(MINE) $(SRC) $(PARTS) -lm
	@echo "next: $(BUILD)/bench verify --decoder $(MINE)"
PLUGIN := -fPIC -fvisibility=hidden
$(BUILD)/pic/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(PLUGIN) -c -o $@ $<

# All of that in an archive, from which only what a plug-in does not define itself is taken; and the cached decoder.
$(BUILD)/pic/parts.a: $(PARTS) $(BUILD)/pic/kvcache/decoder.o
	@rm -f $@
	$(AR) rcs $@ $^

# Plug-ins that tests/plugin.c looks at: some that must be refused, and chapter 7's template and solution.
PLUGINS := $(patsubst %,$(BUILD)/plugins/%.so,misbehaving another-version under-another-name without-reset called-naive template solution)
$(BUILD)/plugins/template.c: notes/07-template.c
	@mkdir -p $(@D); cp $< $@
$(BUILD)/plugins/solution.c: notes/07-template.c notes/07-solution.patch
	@mkdir -p $(@D); patch -s --fuzz=0 -o $@ $^
$(BUILD)/plugins/%.so: $(BUILD)/plugins/%.c $(BUILD)/pic/parts.a
	$(COMPILE) $(PLUGIN) -MF $(@:.so=.d) -shared -o $@ $^ -lm
$(BUILD)/plugins/%.so: tests/plugins/misbehaving.c $(BUILD)/pic/parts.a
	@mkdir -p $(@D)
	$(COMPILE) $(PLUGIN) -DTABLE_$(subst -,_,$*) -MF $(@:.so=.d) -shared -o $@ $^ -lm

# What failure looks like: the cached decoder with classic bugs, as plug-ins.
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZED = $(MAKE) BUILD=$(BUILD)/sanitize CFLAGS='-O1 -g' SANITIZE='$(SANITIZERS)'
faults broken mutants: export OUT := $(BUILD)
faults broken mutants: export PLUGIN_COMPILE = $(COMPILE) $(PLUGIN)
faults: $(BUILD)/bench $(BUILD)/pic/parts.a ## build the cache with each bug of tests/faults: verify catches and locates all of them
	@tests/faults/run.sh
broken: $(BUILD)/bench $(BUILD)/pic/parts.a ## verify a cache with one classic bug, to see what failure looks like
	@tests/faults/run.sh show tests/faults/01-position-off-by-one.patch
mutants: $(BUILD)/bench $(BUILD)/pic/parts.a ## break the cache in every small way: verify kills all but what is explained (7 minutes)
	@$(SANITIZED) --no-print-directory $(BUILD)/sanitize/bench $(BUILD)/sanitize/pic/parts.a
	@SANITIZERS='$(SANITIZERS)' tests/mutants/run.sh

test: $(BUILD)/tests $(BUILD)/naive $(BUILD)/kvcache $(BUILD)/tokenize $(BUILD)/bench $(PLUGINS) ## run all tests
	$(BUILD)/tests
$(BUILD)/tests: $(filter-out $(call objects,$(MAINS)),$(call objects,tests/*.c)) $(BENCH) $(DECODERS) $(COMMON)
	$(LINK) $(shell pkg-config --libs criterion)

# Criterion's exit status knows nothing of leaks: any error in a report is a failure. Status 99 is no program's own, so no test can expect it.
REPORTS := $(abspath $(BUILD))/sanitize/reports
sanitize: ## run all tests under AddressSanitizer and UBSan
	@rm -rf $(REPORTS); mkdir -p $(REPORTS)
	@ASAN_OPTIONS=exitcode=99:log_path=$(REPORTS)/asan:allocator_may_return_null=1 \
	  UBSAN_OPTIONS=exitcode=99:log_path=$(REPORTS)/ubsan:print_stacktrace=1 \
	  $(SANITIZED) test; \
	  status=$$?; ! grep -rhE -A 20 'ERROR: |runtime error: ' $(REPORTS) && exit $$status

golden: $(BUILD)/bench ## compute tests/golden.txt anew: only where the arithmetic contract itself has changed
	@while read -r model contexts digest; do case $$model in '#'*) echo "$$model $$contexts $$digest" ;; \
	  *) $(BUILD)/bench digest -m "$$model" -c "$$contexts" || exit 1 ;; esac; \
	  done <tests/golden.txt >$(BUILD)/golden.txt && mv $(BUILD)/golden.txt tests/golden.txt
matrix: ## the digests in builds of each compiler, level, instruction set and architecture (QUICK=1: some)
	@BUILD='$(BUILD)' MAKE='$(MAKE)' .ci/matrix $(if $(QUICK),quick)
exhaustive: $(BUILD)/exhaustive ## exp and GELU at all 2^32 floats against double: two minutes
	nice $(BUILD)/exhaustive
$(BUILD)/exhaustive: $(BUILD)/obj/tests/exhaustive.o $(BUILD)/obj/common/numeric.o $(BUILD)/obj/common/status.o
	$(LINK)

# valgrind knows no AVX-512.
valgrind: ## run the programs on tiny models under memcheck
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/valgrind CFLAGS='-O1 -g' PORTABLE=1 all
	@tests/memcheck.sh $(BUILD)/valgrind

# Hostile input: one libFuzzer program for each file there but the frame that they share.
FUZZ := $(filter-out fuzz,$(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c)))
FUZZERS := $(FUZZ:%=$(BUILD)/fuzz-%)
SECONDS ?= 60
fuzz: ## feed hostile input to whatever reads files or arguments, each for SECONDS=60
	@$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/fuzz CFLAGS='-O1 -g' fuzzers \
	  SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all'
	@tests/fuzz/run.sh $(BUILD)/fuzz $(SECONDS) $(FUZZ)
.PHONY: fuzzers
fuzzers: $(FUZZERS)
$(FUZZERS): $(BUILD)/fuzz-%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/fuzz/fuzz.o $(BUILD)/obj/bench/contexts.o $(COMMON)
	$(LINK) -fsanitize=fuzzer

RESULTS := $(BUILD)/results
FORMAT := $(if $(PNG),png,svg)
# Each plot and the CSV that it draws: those of the sweep, of roofline, and of the experiments of build/bench curves. What has not been measured is left out.
CURVES := $(patsubst plots/curve-%.gp,%,$(wildcard plots/curve-*.gp))
PLOTS := ttft=summary step=summary speedup=summary memory=memory roofline=roofline $(foreach name,$(CURVES),curve-$(name)=curves/$(name)-summary)
plots: | $(filter deps,$(MAKECMDGOALS)) ## draw build/results/*.csv into build/plots (PNG=1: as PNG)
	@command -v gnuplot >/dev/null || { echo "plots: gnuplot is missing, run 'make deps'; the CSVs stay in $(RESULTS)" >&2; exit 1; }
	@set -e; mkdir -p $(BUILD)/plots; drawn=; for pair in $(PLOTS); do \
	  plot=$${pair%=*}; test -s $(RESULTS)/$${pair#*=}.csv || continue; for theme in light dark; do \
	  picture=$(BUILD)/plots/$$plot-$$theme.$(FORMAT); drawn=yes; \
	  gnuplot -e "theme = '$$theme'; format = '$(FORMAT)'; results = '$(RESULTS)'" plots/$$plot.gp > $$picture.part; \
	  mv $$picture.part $$picture; done; done; \
	  test "$$drawn" || { echo "plots: no CSVs in $(RESULTS), run 'make bench'" >&2; exit 1; }; echo "plots: $(BUILD)/plots/*.$(FORMAT)"

report: $(BUILD)/bench ## write build/report: one page of all that was verified and measured, and one file for programs
	@$(MAKE) --no-print-directory plots PNG=
	$(BUILD)/bench report

# The first chapter quotes the decoders' diff.
notes: ## write the chapters anew that have a .in: 1 from the decoders, 6 from what `make faults mutants` found last
	@set -e; for chapter in 01-one-diff 06-bugs; do \
	  OUT=$(BUILD) sh notes/$$chapter.sh > notes/$$chapter.md.part; mv notes/$$chapter.md.part notes/$$chapter.md; done

SOURCES := $(wildcard */*.[ch] tests/fuzz/*.[ch] tests/plugins/*.c)
# Criterion's macros in short; and cppcheck takes a status for a pointer to whatever local variable the failing call was given.
CPPCHECK := -D'TestSuite(...)=' -D'Test(suite, name, ...)=void suite\#\#name(void)' --suppress=returnDanglingLifetime
lint: ## check the layout, the code and the shell scripts
	@for tool in clang-format cppcheck shellcheck; do command -v $$tool >/dev/null || { echo "$$tool is missing: run 'make deps-lint'"; exit 1; }; done
	clang-format --dry-run -Werror $(SOURCES)
	cppcheck -q --enable=warning,performance,portability --inline-suppr --error-exitcode=1 --std=c11 -I. $(CPPCHECK) $(SOURCES)
	shellcheck .ci/* common/models/*.sh notes/*.sh tests/*.sh tests/*/*.sh
format: ## lay the code out
	clang-format -i $(SOURCES)

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

clean: ## remove everything generated
	rm -rf $(BUILD)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

FORCE:
# What help lists are names, not files.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*## .*/\1/p' $(firstword $(MAKEFILE_LIST))) FORCE
.DELETE_ON_ERROR:
-include $(shell find $(BUILD)/obj $(BUILD)/pic -name '*.d' 2>/dev/null)
