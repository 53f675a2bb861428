# Libraries, by pkg-config; a missing one is named by its Debian package.
# pkg-config's name : Debian's package
LIBS := fuse3:libfuse3-dev pciaccess:libpciaccess-dev libisal:libisal-dev libxxhash:libxxhash-dev \
	json-c:libjson-c-dev uuid:uuid-dev blkid:libblkid-dev mount:libmount-dev liburing:liburing-dev
CHECK_LIB := check:check

pc = $(firstword $(subst :, ,$(1)))
deb = $(lastword $(subst :, ,$(1)))
lacking = $(foreach l,$(1),$(if $(shell pkg-config --exists $(call pc,$(l)) && echo y),,$(call deb,$(l))))

DEP_CFLAGS := $(shell pkg-config --cflags $(foreach l,$(LIBS),$(call pc,$(l))) 2>/dev/null) -DFUSE_USE_VERSION=314
DEP_LIBS := $(shell pkg-config --libs $(foreach l,$(LIBS),$(call pc,$(l))) 2>/dev/null)
CHECK_LIBS = $(shell pkg-config --libs check 2>/dev/null)

# $(1): packages that are missing, if any.
say_lacking = m="$(strip $(1))"; \
	if [ -n "$$m" ]; then echo "make: missing: $$m. As root: apt-get install $$m" >&2; exit 1; fi

deps:
	@$(call say_lacking,$(if $(shell command -v pkg-config),,pkg-config) $(call lacking,$(LIBS)) \
		$(if $(wildcard /usr/include/uthash.h),,uthash-dev))
check-dep:
	@$(call say_lacking,$(call lacking,$(CHECK_LIB)))
