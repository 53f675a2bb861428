# make            the programs, in build/
# make check      every test, guest included, and lint     make unit | tsan | lint | check-fuse | check-guest: a part
# make demo       the main job in a guest                  make bench: figures against the kernel and fuse2fs
# make install    DESTDIR= PREFIX=                         make uninstall, make clean
#
# CC=clang, O=dir (where to build) and V=1 (show commands) may be given. San builds (ASan + UBSan, the driver's model hooks) live in $(O)/san.

CC ?= gcc
O ?= build
PREFIX ?= /usr
SBINDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
VERSION := 0.1.0

# Debian's users do not have these, where modprobe, mke2fs and others are.
export PATH := $(PATH):/usr/sbin:/sbin

include tests/deps.mk

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' '$(1)' '$@')

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
BASE := -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DVBLKFS_VERSION='"$(VERSION)"' \
	-Iinclude -pthread -MMD -MP $(WARN)
SAN := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -DHW_MODEL

PROGRAMS := vblkfs mkfs.vblkfs fsck.vblkfs vblkctl
FUSE_SRC := fusefs/ops.c fusefs/session.c
DRIVER_SRC := $(sort $(wildcard driver/*.c))
FUSEFS_SRC := $(filter-out $(FUSE_SRC),$(sort $(wildcard fusefs/*.c)))
CMD_SRC := $(sort $(wildcard cmd/*.c))
CMD_SHARED := $(filter-out $(PROGRAMS:%=cmd/%.c) $(PROGRAMS:%=cmd/%_%),$(CMD_SRC))
MODEL_SRC := $(sort $(wildcard tests/model/*.c))
UNIT_SRC := $(sort $(wildcard tests/test_*.c))
TEST_SHARED := $(MODEL_SRC) $(filter-out $(UNIT_SRC),$(sort $(wildcard tests/*.c)))
CRASH_SRC := $(sort $(wildcard tests/crash/*.c)) # the crash explorer
TOOL_SRC := $(sort $(wildcard tests/tools/*.c)) # programs that the test scripts and the benchmark run
TOOL_SHARED := $(sort $(wildcard tests/synced/*.c))

UNITS := $(UNIT_SRC:tests/%.c=$(O)/san/%)
TOOLS := $(TOOL_SRC:tests/tools/%.c=$(O)/tools/%)

.DEFAULT_GOAL := all
all: $(PROGRAMS:%=$(O)/%) $(O)/umount.fuse.vblkfs
tools: $(TOOLS) $(O)/crash

obj = $(patsubst %.c,$(O)/obj/%.o,$(1))
san = $(patsubst %.c,$(O)/san/obj/%.o,$(1))

$(O)/obj/%.o: %.c | deps
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(BASE) $(CFLAGS) $(DEP_CFLAGS) $(if $(filter tests/% cmd/%,$<),-Idriver -Ifusefs -Itests) $(CPPFLAGS) -c -o $@ $<
$(O)/san/obj/%.o: %.c | deps check-dep
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(BASE) $(SAN) $(DEP_CFLAGS) $(if $(filter tests/% cmd/%,$<),-Idriver -Ifusefs -Itests) $(CPPFLAGS) -c -o $@ $<

# All that has no main(): a program takes what it uses.
$(O)/vblkfs.a: $(call obj,$(CMD_SHARED) $(FUSE_SRC) $(DRIVER_SRC) $(FUSEFS_SRC))
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# Programs: cmd/NAME.c and its parts, cmd/NAME_*.c.
.SECONDEXPANSION:
$(PROGRAMS:%=$(O)/%): $(O)/%: $$(call obj,cmd/$$*.c $$(wildcard cmd/$$*_*.c)) $(O)/vblkfs.a
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -pthread -o $@ $^ -Wl,--as-needed $(DEP_LIBS)
$(O)/umount.fuse.vblkfs: $(O)/vblkfs
	ln -sf vblkfs $@

$(O)/tools.a: $(call obj,$(TOOL_SHARED))
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(TOOLS): $(O)/tools/%: $(O)/obj/tests/tools/%.o $(O)/tools.a $(O)/vblkfs.a
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -pthread -o $@ $^ $(DEP_LIBS)
$(O)/tools/populate $(O)/tools/fieldfuzz: $(O)/obj/tests/walk.o
$(UNITS): $(O)/san/%: $(O)/san/obj/tests/%.o $(call san,$(TEST_SHARED) $(DRIVER_SRC) $(FUSEFS_SRC))
	$(call say,LINK)
	$(Q)$(CC) $(SAN) $(LDFLAGS) -pthread -o $@ $^ $(DEP_LIBS) $(CHECK_LIBS)
# Its own malloc(), which fails.
$(O)/san/test_faults: LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc

# The explorer's: what its filesystem sees of the machine is its own (tests/crash/world.h).
CRASH_WRAP := -Wl,--wrap=clock_gettime,--wrap=time,--wrap=getrandom,--wrap=poll,--wrap=syslog
$(O)/crash: $(call obj,$(CRASH_SRC) $(FUSEFS_SRC) driver/blockdev.c driver/plain_dma.c)
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(CRASH_WRAP) -pthread -o $@ $^ $(DEP_LIBS)
$(O)/san/crash: $(call san,$(CRASH_SRC) $(FUSEFS_SRC) driver/blockdev.c driver/plain_dma.c)
	$(call say,LINK)
	$(Q)$(CC) $(SAN) $(LDFLAGS) $(CRASH_WRAP) -pthread -o $@ $^ $(DEP_LIBS)
.PRECIOUS: $(O)/obj/%.o $(O)/san/obj/%.o

units: $(UNITS)
unit: units
	tests/run-units $(UNITS)

-include tests/targets.mk # check, lint, demo, bench, install, uninstall

clean:
	rm -rf $(O)

.PHONY: all tools units unit clean deps check-dep
-include $(shell find $(O) -name '*.d' 2>/dev/null)
