# SPDX-License-Identifier: GPL-2.0
#
#help: Build
#help:   make [all]            the module, for the running kernel, and the tools
#help:   make module           the module; KVER=VERSION or KDIR=FOLDER for another
#help:                         kernel, W=1 and C=2 as in the kernel's own build
#help:   make tools            disaggctl, disaggd, disagg-agent; SAN=1 with sanitizers
#help:   make clean            remove what these made
#help:
#help: Install (as root)
#help:   make install          tools, units, udev rules, completion, man pages;
#help:                         PREFIX=/usr, DESTDIR=
#help:   make dkms-install     the module by DKMS, for every kernel with headers;
#help:                         KVER=VERSION for that one only
#help:   make module_install   the module without DKMS, for one kernel;
#help:                         module_uninstall takes it away
#help:   make uninstall        remove exactly what install put; FORCE=1 also what is in use
#help:   make dkms-remove      remove the module from DKMS and all kernels
#help:
#help: Try and test (in virtual machines; see selftests/lab/README)
#help:   make demo             the whole thing, once, on real data
#help:   make check            every test; SUITE=NAME KERNEL=6.1|6.12|7.3|uml|debug
#help:                         for some
#help:   make fuzz             hostile bytes for the programs; TIME=600 seconds,
#help:                         FUZZ=NAME for one harness (Documentation/testing.rst)
#help:   make soak             the whole of what check does a tenth of
#help:   make bench            beside nbd and nvme-tcp in one guest

VERSION := 0.1.0
KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build
PREFIX ?= /usr
export VERSION PREFIX DESTDIR
Q := $(if $(V),,@)

all: module tools

# W=1 and C=2 pass through to kbuild.
module:
	$(Q)[ -f $(KDIR)/Makefile ] || { \
		echo "There are no headers of kernel $(KVER): no $(KDIR)." >&2; \
		echo "On Debian: apt install linux-headers-$(KVER); or KVER=VERSION, KDIR=FOLDER" >&2; \
		exit 1; }
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

module_install: module
	install -D -m 644 disagg.ko $(DESTDIR)/lib/modules/$(KVER)/updates/disagg.ko
	$(if $(DESTDIR),,depmod $(KVER))

module_uninstall:
	rm -f $(DESTDIR)/lib/modules/$(KVER)/updates/disagg.ko
	$(if $(DESTDIR),,depmod $(KVER))

tools:
	$(MAKE) -C tools

# A copy of the tree that has only the module's parts (DKMS's) cleans too.
clean:
	$(if $(wildcard tools/Makefile),$(MAKE) -C tools clean)
	$(if $(wildcard $(KDIR)),$(MAKE) -C $(KDIR) M=$(CURDIR) clean)

# Where install notes what it put, for uninstall.
MANIFEST := $(PREFIX)/lib/disagg/manifest
export MANIFEST

install: tools
	$(Q)$(MAKE) -C tools --no-print-directory install
	$(Q)$(MAKE) -C Documentation --no-print-directory install
	$(Q)$(if $(DESTDIR),,tools/install/reload installed)
	$(Q)echo "install: disagg $(VERSION): disaggctl, disaggd, disagg-agent, completion, units, udev rules, dissector and man pages under $(DESTDIR)$(PREFIX)"
	$(Q)echo "install: the module comes by 'make dkms-install' (every kernel) or 'make module_install' (one)"

uninstall:
	$(Q)if [ -z "$(DESTDIR)" ] && [ -f $(MANIFEST) ]; then \
		tools/install/reload removing && \
		tools/install/remove "" $(MANIFEST) && \
		tools/install/reload removed; \
	else \
		tools/install/remove "$(DESTDIR)" $(MANIFEST); \
	fi

# KVER=VERSION: for that kernel only; else for every one that has its headers.
dkms-install:
	$(Q)tools/install/dkms install $(VERSION) \
		$(if $(filter file default undefined,$(origin KVER)),,$(KVER))

dkms-remove:
	$(Q)tools/install/dkms remove $(VERSION)

help:
	@sed -n 's/^#help:\( \|$$\)//p' $(firstword $(MAKEFILE_LIST)) $(wildcard selftests/lab/lab.mk)

.PHONY: all module module_install module_uninstall tools clean install uninstall \
	dkms-install dkms-remove help

-include selftests/lab/lab.mk
