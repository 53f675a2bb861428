# What the README names: check and its parts, demo, bench, install.

C_FILES := $(wildcard cmd/*.[ch] cmd/*/*.c driver/*.[ch] fusefs/*.[ch] include/*.h include/*/*.h tests/*.[ch] tests/*/*.[ch])
SH_FILES = $(shell grep -lE '^\#!.*(bash|/sh)' -r tests .ci --include='*' 2>/dev/null)
MAN_PAGES := $(wildcard man/*.[0-9])

# Packages first: everything else may need them.
AT_ONCE := -j$(shell nproc)
check:
	tests/prepare.sh build check
	$(MAKE) $(AT_ONCE) lint
	$(MAKE) $(AT_ONCE) all tools units
	$(MAKE) $(AT_ONCE) O=build/clang CC=clang all tools
	$(MAKE) unit
	$(MAKE) tsan
	$(MAKE) $(AT_ONCE) crash-short
	$(MAKE) $(AT_ONCE) fuzz-short
	$(MAKE) check-fsck
	$(MAKE) check-lib
	$(MAKE) check-fuse
	$(MAKE) check-guest
	@echo "make check: all passed"

# fsck.vblkfs on damaged images: one by one with what it must say, and fields drawn at random.
check-fsck: all tools
	tests/fsck/check.sh $(O)
# The driver as a library, installed, and programs built on it.
check-lib: all
	tests/lib/check.sh $(O)
	tests/lib/fio.sh $(O)
# The programs without a mount, then with one.
check-fuse: all tools
	tests/make.sh $(O)
	tests/mkfs.sh $(O)
	tests/fsck.sh $(O)
	tests/dump.sh $(O)
	tests/fuse/check.sh $(O)
	tests/vhost/check.sh $(O)
check-guest: all tools
	tests/guest/check.sh
# Debian's systemd with disks of ours in /etc/fstab. As root: the system for it is made once, with mmdebstrap.
check-boot: all
	tests/guest/boot.sh $(O)

# Threads under ThreadSanitizer: the tests that are about them. And, by tsan-programs, the programs:
# $(O)/tsan/vblkfs -f serves a mount as ever, and says on standard error what races.
TSAN := -O1 -g -fno-omit-frame-pointer -fsanitize=thread \
	$(if $(findstring clang,$(CC)),,-Wno-tsan) # fences, of which TSan knows nothing
TSAN_TESTS := test_virtio_blk test_hostile test_vhost_user test_alloc test_threads test_cache test_owner_lock \
	test_libvblk test_control test_virtio_pci test_stress # the longest first
tsan:
	$(MAKE) $(AT_ONCE) O=$(O)/tsan SAN='$(TSAN) -DHW_MODEL' $(TSAN_TESTS:%=$(O)/tsan/san/%)
	TSAN_OPTIONS="detect_deadlocks=0 die_after_fork=0 $(TSAN_OPTIONS)" setarch -R \
		tests/run-units $(TSAN_TESTS:%=$(O)/tsan/san/%)
tsan-programs:
	$(MAKE) $(AT_ONCE) O=$(O)/tsan CFLAGS='$(TSAN)' all

# The crash explorer: STATES= how many disks that a power cut may leave, SEED= which, JOBS= processes at once.
STATES ?= 100000
SEED ?= 1
JOBS ?= $(shell nproc)
crash: $(O)/crash
	$(O)/crash --states $(STATES) --seed $(SEED) --jobs $(JOBS) --keep $(O) $(CRASH_ARGS)
crash-short: $(O)/crash $(O)/san/crash
	@for w in mixed:1 logfull:1 checkpoint:1; do for i in 1 2; do \
		$(O)/crash --workload $$w --save $(O)/crash-$$i.log >$(O)/crash.out || { cat $(O)/crash.out; exit 1; }; \
		done; cmp $(O)/crash-1.log $(O)/crash-2.log || { echo "$$w does not repeat itself"; exit 1; }; done
	$(O)/crash --states 24000 --seed 1 --jobs $(JOBS) --keep $(O)
	$(O)/san/crash --states 1500 --seed 2 --jobs $(JOBS) --keep $(O)
	tests/crash/mutants.sh --short

# The driver against a device or a back-end that lies, by libFuzzer: RUNS= inputs for each target, SEED= which, JOBS=
# processes at once, FUZZERS= which targets. What reaches something new stays in $(O)/fuzz/corpus.
RUNS ?= 1000000
FUZZERS ?= ring device vhost
FUZZ_CC = $(if $(findstring clang,$(CC)),$(CC),clang)
FUZZ_SAN := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_COVER := -fsanitize=fuzzer-no-link -fno-sanitize-coverage=stack-depth # there are several stacks
FUZZ_SRC := $(filter-out tests/fuzz/fuzz_%,$(wildcard tests/fuzz/*.c))
FUZZ_WRAP := pthread_create pthread_join pthread_setname_np pthread_mutex_lock clock_gettime nanosleep syslog \
	poll eventfd eventfd_read eventfd_write read write close socket socketpair setsockopt connect shutdown \
	send sendmsg recv recvmsg $(addprefix dma_,create_shared file page destroy alloc free addr) # world.h, fds.h, shm.h
$(O)/fuzz/obj/%.o: %.c | deps
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(FUZZ_CC) $(BASE) $(FUZZ_SAN) $(FUZZ_COVER) -DHW_MODEL $(DEP_CFLAGS) -Idriver -Itests \
		$(CPPFLAGS) -c -o $@ $<
# libFuzzer itself keeps the true clock.
$(O)/fuzz/driver.o: $(DRIVER_SRC:%.c=$(O)/fuzz/obj/%.o) tests/targets.mk
	$(call say,LINK)
	$(Q)$(LD) -r $(FUZZ_WRAP:%=--wrap=%) -o $@ $(filter %.o,$^)
$(O)/fuzz/ring $(O)/fuzz/device $(O)/fuzz/vhost: $(O)/fuzz/%: $(O)/fuzz/obj/tests/fuzz/fuzz_%.o \
		$(FUZZ_SRC:%.c=$(O)/fuzz/obj/%.o) $(O)/fuzz/driver.o
	$(call say,LINK)
	$(Q)$(FUZZ_CC) $(FUZZ_SAN) -fsanitize=fuzzer $(LDFLAGS) -pthread -o $@ $^ $(DEP_LIBS)
fuzz-device: $(FUZZERS:%=$(O)/fuzz/%)
	VBLKFS_CORPUS=$(O)/fuzz/corpus tests/fuzz/run.sh $(O) $(RUNS) $(JOBS) $(SEED) $(FUZZERS)
# One process each: so it is the same run every time.
FUZZ_SHORT := $(FUZZERS:%=fuzz-short-%)
fuzz-short: $(FUZZ_SHORT)
$(FUZZ_SHORT): fuzz-short-%: $(O)/fuzz/%
	tests/fuzz/run.sh $(O) 11000 1 1 $*
.PRECIOUS: $(O)/fuzz/obj/%.o

demo:
	tests/prepare.sh build guest
	$(MAKE) all
	tests/demo.sh

bench:
	tests/prepare.sh build bench
	$(MAKE) all tools
	tests/bench/bench.sh $(BENCH_ARGS)

lint: lint-format lint-headers lint-rooms lint-shell lint-man lint-cppcheck lint-tidy

lint-format:
	clang-format --dry-run -Werror $(C_FILES)

# Each header compiles alone.
lint-headers: deps
	@for h in $(filter %.h,$(C_FILES)); do \
		$(CC) -std=gnu11 -D_GNU_SOURCE -Iinclude -Idriver -Ifusefs -Itests $(DEP_CFLAGS) $(WARN) \
			-fsyntax-only -x c -include $$h /dev/null || { echo "$$h does not compile alone"; exit 1; }; \
	done

# driver/ and fusefs/ know nothing of each other; FUSE is known to two files; the driver is also a
# library, whose messages are its user's.
lint-rooms:
	@! grep -nE '#include "(fs|format|cache|tx|alloc|inode|extent|btree|dir|orphan|xattr|journal|dump|vblkfs|session)\.h"' driver/*.[ch]
	@! grep -nE '#include "(hw|disk|virtio.*|virtqueue|pci|dma)\.h"' fusefs/*.[ch]
	@! grep -nE '\b(syslog|exit|abort|printf|perror)\(' $(filter-out driver/log.c,$(wildcard driver/*.c))
	@! grep -lE '#include <fuse' driver/*.[ch] $(filter-out fusefs/ops.c fusefs/session.c fusefs/session.h,$(wildcard fusefs/*.[ch])) cmd/*.[ch]

lint-shell:
	shellcheck -x $(SH_FILES)
lint-man:
	mandoc -T lint -W warning $(MAN_PAGES)
lint-cppcheck:
	cppcheck --quiet --error-exitcode=1 --enable=warning,portability,performance --inline-suppr \
		--std=c11 --library=posix -D_GNU_SOURCE -DFUSE_USE_VERSION=314 -DVBLKFS_VERSION='""' -Iinclude -Idriver -Ifusefs -Itests \
		--suppress=missingIncludeSystem --suppress=readdirCalled -j2 cmd driver fusefs

TIDY_SRC := $(CMD_SRC) $(DRIVER_SRC) $(FUSEFS_SRC) $(FUSE_SRC)
TIDY := $(TIDY_SRC:%.c=$(O)/tidy/%.ok)
lint-tidy: $(TIDY)
$(O)/tidy/%.ok: %.c .clang-tidy $(wildcard include/*.h driver/*.h fusefs/*.h cmd/*.h) | deps
	@mkdir -p $(@D)
	clang-tidy --quiet $< -- $(filter-out -MMD -MP,$(BASE)) $(DEP_CFLAGS) -Idriver -Ifusefs 2>$@.log || { cat $@.log; exit 1; }
	@touch $@

# mount(8) and fsck(8) look for helpers in /sbin; mount.fuse3 looks for vblkfs in PATH.
LINKS := mount.fuse.vblkfs:vblkfs umount.fuse.vblkfs:vblkfs fsck.fuse.vblkfs:fsck.vblkfs
link_name = $(firstword $(subst :, ,$(1)))
INSTALLED = $(PROGRAMS:%=$(DESTDIR)$(SBINDIR)/%) \
	$(foreach l,$(LINKS),$(DESTDIR)$(SBINDIR)/$(call link_name,$(l)))
# A function is found by its own name, too: the NAME of its page.
names_of = $(shell sed -n '/^\.Nm/{s/^\.Nm //;s/ ,$$//;p};/^\.Nd/q' $(1))
MAN3_LINKS := $(foreach m,$(filter %.3,$(MAN_PAGES)),\
	$(foreach n,$(filter-out $(notdir $(m:.3=)),$(call names_of,$(m))),$(n):$(notdir $(m))))
INSTALLED += $(DESTDIR)$(UDEVDIR)/60-vblkfs.rules $(DESTDIR)$(LIBDIR)/libvblk.a $(DESTDIR)$(LIBDIR)/pkgconfig/libvblk.pc \
	$(foreach n,libvblk.so libvblk.so.$(SOVERSION) libvblk.so.$(VERSION),$(DESTDIR)$(LIBDIR)/$(n)) \
	$(DESTDIR)$(INCLUDEDIR)/vblk/vblk.h \
	$(foreach m,$(MAN_PAGES),$(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(m)))/$(notdir $(m))) \
	$(foreach l,$(MAN3_LINKS),$(DESTDIR)$(MANDIR)/man3/$(call link_name,$(l)).3)
install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/vblk
	install -m 755 $(PROGRAMS:%=$(O)/%) $(DESTDIR)$(SBINDIR)/
	for l in $(LINKS); do ln -sf "$${l#*:}" "$(DESTDIR)$(SBINDIR)/$${l%:*}"; done
	install -m 644 $(O)/libvblk.a $(DESTDIR)$(LIBDIR)/
	install -m 755 $(O)/libvblk.so.$(VERSION) $(DESTDIR)$(LIBDIR)/
	ln -sf libvblk.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libvblk.so.$(SOVERSION)
	ln -sf libvblk.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libvblk.so
	install -m 644 include/vblk/vblk.h $(DESTDIR)$(INCLUDEDIR)/vblk/
	printf '%s\n' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' 'Name: libvblk' \
		'Description: Drive virtio disks from user space' 'Version: $(VERSION)' \
		'Requires.private: $(LIB_NEEDS)' 'Cflags: -I$${includedir}' \
		'Libs: -L$${libdir} -lvblk' 'Libs.private: -pthread' >$(DESTDIR)$(LIBDIR)/pkgconfig/libvblk.pc
	for m in $(MAN_PAGES); do d=$(DESTDIR)$(MANDIR)/man$${m##*.}; install -d $$d; install -m 644 $$m $$d/; done
	for l in $(MAN3_LINKS); do ln -sf "$${l#*:}" "$(DESTDIR)$(MANDIR)/man3/$${l%:*}.3"; done
	install -d $(DESTDIR)$(UDEVDIR)
	sed 's:@SBINDIR@:$(SBINDIR):' cmd/60-vblkfs.rules >$(DESTDIR)$(UDEVDIR)/60-vblkfs.rules
uninstall:
	rm -f $(INSTALLED)

.PHONY: check crash crash-short fuzz-device fuzz-short $(FUZZ_SHORT) check-fsck check-lib check-fuse check-guest check-boot tsan tsan-programs demo bench lint lint-format lint-headers lint-rooms lint-shell \
	lint-man lint-cppcheck lint-tidy install uninstall
