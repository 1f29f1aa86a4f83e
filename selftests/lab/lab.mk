# SPDX-License-Identifier: GPL-2.0
# The targets that need the lab. Included by the top-level Makefile.

# SUITE=block KERNEL=6.12 narrow it down; V=1 shows all output; JOBS=1 one by one; UNTIL=0: uml's
# suites run however late it is.
check:
	@SUITE="$(SUITE)" KERNEL="$(KERNEL)" TEST="$(TEST)" V="$(V)" JOBS="$(JOBS)" \
		UNTIL="$(UNTIL)" selftests/run

demo:
	@selftests/demo/demo

# KERNEL=7.3 RUNS=9; more options: selftests/bench/bench --help
bench:
	@KERNEL="$(KERNEL)" RUNS="$(RUNS)" selftests/bench/bench

# TIME=600 seconds altogether, FUZZ=NAME one harness.
fuzz:
	@TIME="$(TIME)" FUZZ="$(FUZZ)" selftests/fuzz/fuzz

# The whole of what `make check` does a tenth of. KERNEL=… for the netlink messages.
soak:
	@SUITE=fuzz FUZZ_TIME=60 FUZZ_FRAMES=1000000 TIMEOUT=3600 V="$(V)" selftests/run
	@SUITE=control TEST=test_fuzz_01 KERNEL="$(or $(KERNEL),6.1 6.12 7.3 uml)" FUZZ_MESSAGES=100000 TIMEOUT=3600 \
		V="$(V)" selftests/run
	@SUITE=link TEST='test_[ac]*_01*' KERNEL="$(or $(KERNEL),6.12)" FUZZ_CUTS=1000 \
		FUZZ_RESTORE_MS=1000 FUZZ_RETURNS=20 TIMEOUT=5400 V="$(V)" selftests/run
	@SUITE=swap KERNEL="$(or $(KERNEL),6.12)" FUZZ_SWAP=300 TIMEOUT=1200 V="$(V)" selftests/run
	@SUITE=fault TEST=test_hostile_03 KERNEL=uml FUZZ_REPLIES=1000000 TIMEOUT=7200 V=1 \
		selftests/run
	@SUITE=stress TEST=test_cycle_01.sh KERNEL=uml FUZZ_CYCLES=500 TIMEOUT=7200 V=1 \
		selftests/run
	@SUITE=inject KERNEL=uml V="$(V)" selftests/run

# The roots and User-Mode Linux, so that what follows is quick.
lab:
	@selftests/lab/root trixie
	@selftests/lab/root bookworm
	@selftests/lab/kernel uml

# A shell in a VM: make shell KERNEL=7.3
shell:
	@selftests/lab/vm --kernel $(or $(KERNEL),6.12) --timeout 0

clean-lab:
	@selftests/lab/clean

.PHONY: check demo bench fuzz soak lab shell clean-lab
