# SPDX-License-Identifier: GPL-2.0
#
#   make                 the module (for the running kernel) and the tools
#   make install         tools, units, udev rules, man pages  (PREFIX, DESTDIR)
#   make dkms-install    the module, by DKMS
#   make demo | check | bench
#
# `make help` lists the rest.

VERSION := 0.1.0
KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build
PREFIX ?= /usr
export VERSION PREFIX

all: module tools

# W=1 and C=2 pass through to kbuild.
module:
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

module_install: module
	install -D -m 644 disagg.ko $(DESTDIR)/lib/modules/$(KVER)/updates/disagg.ko
	$(if $(DESTDIR),,depmod $(KVER))

tools:
	$(MAKE) -C tools

clean:
	$(MAKE) -C tools clean
	$(if $(wildcard $(KDIR)),$(MAKE) -C $(KDIR) M=$(CURDIR) clean)

install: tools
	$(MAKE) -C tools install
	$(MAKE) -C Documentation install

uninstall:
	$(MAKE) -C tools uninstall
	$(MAKE) -C Documentation uninstall

.PHONY: all module module_install tools clean install uninstall

-include selftests/lab/lab.mk
