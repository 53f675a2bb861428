# make            the programs, in build/
# make check      every test, guest included, and lint     make unit | tsan | lint | check-fuse | check-guest: a part
# make demo       the main job in a guest                  make bench: figures against the kernel and fuse2fs
# make install    DESTDIR= PREFIX=                         make uninstall, make clean
#
# CC=clang, O=dir (where to build) and V=1 (show commands) may be given. San builds (ASan + UBSan, the driver's model hooks) live in $(O)/san.

CC ?= gcc
OBJCOPY ?= objcopy
O ?= build
PREFIX ?= /usr
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
UDEVDIR ?= $(PREFIX)/lib/udev/rules.d
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

# The library's ABI: SOVERSION in its name, the version node of each symbol in driver/libvblk.map.
SOVERSION := 0

PROGRAMS := vblkfs mkfs.vblkfs fsck.vblkfs vblkctl
FUSE_SRC := fusefs/ops.c fusefs/session.c
DRIVER_SRC := $(sort $(wildcard driver/*.c))
LIB_SRC := $(filter-out driver/mem_disk.c,$(DRIVER_SRC))
FUSEFS_SRC := $(filter-out $(FUSE_SRC),$(sort $(wildcard fusefs/*.c)))
CMD_SRC := $(sort $(wildcard cmd/*.c))
CMD_SHARED := $(filter-out $(PROGRAMS:%=cmd/%.c) $(PROGRAMS:%=cmd/%_%),$(CMD_SRC))
MODEL_SRC := $(sort $(wildcard tests/model/*.c))
UNIT_SRC := $(sort $(wildcard tests/test_*.c))
QTEST_SRC := $(sort $(wildcard tests/qtest/*.c)) # a QEMU without a guest
TEST_SHARED := $(MODEL_SRC) $(filter-out $(UNIT_SRC),$(sort $(wildcard tests/*.c)))
CRASH_SRC := $(sort $(wildcard tests/crash/*.c)) # the crash explorer
TOOL_SRC := $(sort $(wildcard tests/tools/*.c)) # programs that the test scripts and the benchmark run
TOOL_SHARED := $(sort $(wildcard tests/synced/*.c))

# Those that take longest begin first, so that the others fill the CPUs till the end.
LONG_UNITS := $(patsubst %,tests/test_%.c,check qtest virtqueue check_repair faults virtio_blk journal vhost_user promises)
UNITS := $(patsubst tests/%.c,$(O)/san/%,$(LONG_UNITS) $(filter-out $(LONG_UNITS),$(UNIT_SRC)))
TOOLS := $(TOOL_SRC:tests/tools/%.c=$(O)/tools/%)

.DEFAULT_GOAL := all
LIBRARY := $(O)/libvblk.so $(O)/libvblk.a
all: $(PROGRAMS:%=$(O)/%) $(O)/umount.fuse.vblkfs $(LIBRARY)
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

# The driver as a library: only what the header names can be linked to, of the archive too.
LIB_NEEDS := pciaccess json-c liburing
$(O)/lib/obj/%.o: %.c | deps
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(BASE) $(CFLAGS) -fPIC -fvisibility=hidden -DNDEBUG $(DEP_CFLAGS) $(CPPFLAGS) -c -o $@ $<
$(O)/libvblk.so.$(VERSION): $(LIB_SRC:%.c=$(O)/lib/obj/%.o) driver/libvblk.map
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -pthread -o $@ $(filter %.o,$^) \
		-Wl,-soname,libvblk.so.$(SOVERSION) -Wl,--version-script=driver/libvblk.map \
		-Wl,-z,defs,-z,nodelete -Wl,--as-needed $(shell pkg-config --libs $(LIB_NEEDS))
$(O)/libvblk.so: $(O)/libvblk.so.$(VERSION)
	$(Q)ln -sf libvblk.so.$(VERSION) $(O)/libvblk.so.$(SOVERSION)
	$(Q)ln -sf libvblk.so.$(SOVERSION) $@
$(O)/libvblk.a: $(LIB_SRC:%.c=$(O)/lib/obj/%.o)
	$(call say,AR)
	$(Q)$(LD) -r -o $(O)/lib/libvblk.o $^
	$(Q)$(OBJCOPY) --localize-hidden $(O)/lib/libvblk.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(O)/lib/libvblk.o

# fio's engine needs fio's headers, of the very version, configured: no package has them.
FIO_VERSION = $(if $(FIO_SRC),$(shell cd $(FIO_SRC) && sh ./FIO-VERSION-GEN 2>/dev/null; sed -n "s,^FIO_VERSION = ,,p" FIO-VERSION-FILE 2>/dev/null))
fio-engine: $(O)/vblk-fio.so
$(O)/vblk-fio.so: cmd/fio/vblk.c $(O)/libvblk.a
	@[ -n "$(FIO_SRC)" ] && [ -e "$(FIO_SRC)/config-host.h" ] || { \
		echo "make fio-engine: FIO_SRC= is the source of the fio that will run it, where ./configure has run" >&2; exit 1; }
	$(call say,LINK)
	$(Q)$(CC) $(BASE) $(CFLAGS) -fPIC -fvisibility=hidden -isystem $(FIO_SRC) -include $(FIO_SRC)/config-host.h \
		-DVBLK_FIO_VERSION='"$(FIO_VERSION)"' $(CPPFLAGS) $(LDFLAGS) -shared -Wl,-z,nodelete -o $@ $< $(O)/libvblk.a \
		-Wl,--as-needed $(shell pkg-config --libs $(LIB_NEEDS))

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
$(O)/san/test_qtest: $(call san,$(QTEST_SRC))
$(O)/san/test_jobs: $(call san,$(FUSE_SRC)) # of a session
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

.PHONY: all fio-engine tools units unit clean deps check-dep
-include $(shell find $(O) -name '*.d' 2>/dev/null)
