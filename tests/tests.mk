# What is tested, and how the code is kept: part of the Makefile, whose variables it uses.

# All of that in an archive, from which only what a plug-in does not define itself is taken; and the
# cached decoder.
$(BUILD)/pic/parts.a: $(PARTS) $(BUILD)/pic/kvcache/decoder.o
	@rm -f $@
	$(AR) rcs $@ $^

MISTAKES := restarts off-by-one one-slot-late all-reused no-own-key short-length never-counted unscaled flickering \
    counts-refused few-bytes drops-all
# Plug-ins that tests/verify/plugin.c looks at: some that must be refused, and chapter 7's template
# and solution.
PLUGINS := $(patsubst %,$(BUILD)/plugins/%.so,misbehaving another-version first-version under-another-name without-reset called-naive template solution $(MISTAKES))
$(BUILD)/plugins/template.c: notes/07-template.c
	@mkdir -p $(@D); cp $< $@
$(BUILD)/plugins/solution.c: notes/07-template.c notes/07-solution.patch
	@mkdir -p $(@D); patch -s --fuzz=0 -o $@ $^
# The solution with one mistake of a student each.
restarts := s/rowops_embed(d->m, tokens, first, T, /rowops_embed(d->m, tokens + first, 0, n, /
off-by-one := s/rowops_embed(d->m, tokens, first, T, /rowops_embed(d->m, tokens + (first > 0), first - (first > 0), T - (first > 0), /
one-slot-late := s/memcpy(v + (first + r) [*] C/memcpy(v + (first + r + 1) * C/; s/L [*] T_max [*] m->config.C/L * (T_max + 1) * m->config.C/
all-reused := s/t < T - wanted/t < T + 0 * wanted/; s/rows_from(\&a->x, n - wanted)/rows_from(\&a->x, n < wanted ? 0 : n - wanted)/
no-own-key := s/keys = t + 1;/keys = t;/
short-length := s/d->length = T;/d->length = T - 1;/
never-counted := /d->length = T;/d
unscaled := s,1.0f / sqrtf((float)D),1.0f / sqrtf((float)D) * sqrtf((float)D),
counts-refused := s/    tap tap;/    tap tap; size_t shown;/; s/    status s = decoder_check/    d->shown = T; &/; s/    d->length = 0;/    d->length = d->shown = 0;/; s/t < d->length;/t < d->shown;/
few-bytes := s/    return 2 [*] .*/    return d != NULL;/
drops-all := s/    return t;/    return t < d->length \&\& t < T - wanted ? 0 : t;/
flickering := s/rowops_layer_norm(\&w->ln1, /static unsigned calls; if (++calls % 13 == 0) a->x.at[0] += 0.5f; &/
$(BUILD)/plugins/%.so: $(BUILD)/plugins/%.c $(BUILD)/pic/parts.a
	$(COMPILE) $(PLUGIN) -MF $(@:.so=.d) -shared -o $@ $^ -lm
$(MISTAKES:%=$(BUILD)/plugins/%.c): $(BUILD)/plugins/%.c: $(BUILD)/plugins/solution.c tests/tests.mk
	@sed '$($*)' $< >$@; ! cmp -s $< $@
$(BUILD)/plugins/%.so: tests/plugins/misbehaving.c $(BUILD)/pic/parts.a
	@mkdir -p $(@D)
	$(COMPILE) $(PLUGIN) -DTABLE_$(subst -,_,$*) -MF $(@:.so=.d) -shared -o $@ $^ -lm

# What failure looks like: the cached decoder with classic bugs, as plug-ins.
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZED = $(MAKE) BUILD=$(BUILD)/sanitize CFLAGS='-O1 -g' SANITIZE='$(SANITIZERS)'
faults broken mutants: export OUT := $(BUILD)
faults broken mutants: export PLUGIN_COMPILE = $(COMPILE) $(PLUGIN)
# Bugs outside of the decoder are for tests: theirs is linked anew from these.
faults mutants: export TEST_LINK = $(CC) $(SANITIZE) $(LDFLAGS) $(OPENMP_LIBS) $(TESTED) $(PKG_LIBS) $(shell pkg-config --libs criterion) -lm
faults: $(BUILD)/bench $(BUILD)/pic/parts.a $(BUILD)/tests ## build the cache with each bug of tests/faults: verify catches and locates all of them (QUICK=1: some)
	@tests/faults/run.sh
broken: $(BUILD)/bench $(BUILD)/pic/parts.a ## verify a cache with one classic bug, to see what failure looks like
	@tests/faults/run.sh show tests/faults/01-position-off-by-one.patch
mutants: all $(BUILD)/pic/parts.a $(BUILD)/tests $(PLUGINS) ## break the cache in every small way: verify and the tests refuse all but what is explained (an hour)
	+@$(SANITIZED) --no-print-directory $(BUILD)/sanitize/bench $(BUILD)/sanitize/pic/parts.a
	@SANITIZERS='$(SANITIZERS)' tests/mutants/run.sh

TESTED := $(call object,tests/oracle.c) $(call objects,$(addprefix tests/,bench decoders files generate serve support verify)) $(BENCH) $(DECODERS) $(SERVE) $(COMMON)
test: $(BUILD)/tests $(BUILD)/naive $(BUILD)/kvcache $(BUILD)/tokenize $(BUILD)/bench $(PLUGINS) ## run all tests
	$(BUILD)/tests
$(BUILD)/tests: $(TESTED) | $(BUILD)/tested/bench $(BUILD)/tested/tokenize
	$(LINK) $(shell pkg-config --libs criterion)

# Under this name, so that what tests find does not stand among the user's results.
$(BUILD)/tested/%: $(BUILD)/%
	@mkdir -p $(@D); ln -f $< $@

openai: $(BUILD)/kvcache ## ask the server with OpenAI's own client, which npm fetches
	@tests/openai.sh $(BUILD)

# Criterion's exit status knows nothing of leaks: any error in a report is a failure. Status 99 is
# no program's own, so no test can expect it.
REPORTS := $(abspath $(BUILD))/sanitize/reports
sanitize: ## run all tests under AddressSanitizer and UBSan
	@rm -rf $(REPORTS); mkdir -p $(REPORTS)
	+@ASAN_OPTIONS=exitcode=99:log_path=$(REPORTS)/asan:allocator_may_return_null=1 \
	  LSAN_OPTIONS=suppressions=$(abspath tests/support/leaks.supp):print_suppressions=0 \
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
$(BUILD)/exhaustive: $(call object,tests/exhaustive.c common/number/numeric.c common/base/status.c)
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
$(FUZZERS): $(BUILD)/fuzz-%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/fuzz/fuzz.o $(call object,bench/base/contexts.c) $(call object,kvcache/serve/request.c) $(COMMON)
	$(LINK) -fsanitize=fuzzer

SOURCES := $(filter-out build/%,$(wildcard */*.[ch] */*/*.[ch] */*/*/*.[ch]))
TEXTS := $(filter-out build/%,$(wildcard *.md */*.md */*.in */*/*.md */*/*/*.md))
# A line of prose that is too long: not of a table, of HTML, of a quoted command or of a quoted
# diff.
PROSE := ^[^-+|<`[:space:]].{100}
# Criterion's macros in short; and cppcheck takes a status for a pointer to whatever local variable
# the failing call was given.
CPPCHECK := -D'TestSuite(...)=' -D'Test(suite, name, ...)=void suite\#\#name(void)' --suppress=returnDanglingLifetime
lint: ## check the layout, the code and the shell scripts
	@for tool in clang-format cppcheck shellcheck; do command -v $$tool >/dev/null || { echo "$$tool is missing: run 'make deps-lint'"; exit 1; }; done
	clang-format --dry-run -Werror $(SOURCES)
	@! LC_ALL=C.UTF-8 grep -nE '^.{101}' $(SOURCES) || { echo 'lint: wrap these lines at 100 columns'; exit 1; }
	@! LC_ALL=C.UTF-8 grep -nE '$(PROSE)' $(TEXTS) || { echo 'lint: wrap this prose at 100 columns'; exit 1; }
	cppcheck -q --enable=warning,performance,portability --inline-suppr --error-exitcode=1 --std=c11 -I. $(CPPCHECK) $(SOURCES)
	@$(filter-out -MMD -MP,$(COMPILE)) -fsyntax-only tests/fuzz/*.c # what 'make test' does not compile
	shellcheck .ci/* common/models/*.sh notes/*.sh plots/*.sh tests/*.sh tests/*/*.sh
format: ## lay the code out
	clang-format -i $(SOURCES)
