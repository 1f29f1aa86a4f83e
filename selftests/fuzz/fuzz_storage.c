// SPDX-License-Identifier: GPL-2.0
/*
 * disaggd: a lane of class storage (storage_lane.c, storage.c, lane.c). The lease is
 * the middle of a file, whose other parts nobody may change.
 */
#include "lane.h"

#define GUARD	(64U << 10)	/* bytes before and behind the lease */

static uint8_t guard[GUARD], now[GUARD];

static bool guard_whole(off_t at)
{
	return pread(serve.fd, now, GUARD, at) == GUARD && !memcmp(now, guard, GUARD);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int fd = memfd_create("storage", MFD_CLOEXEC);

	(void)argc;
	(void)argv;
	fuzz_assert(fd >= 0 && dup2(fd, WORKER_FD_MEDIUM) == WORKER_FD_MEDIUM);
	memset(guard, 0xa5, sizeof(guard));
	fuzz_assert(pwrite(fd, guard, GUARD, 0) == GUARD &&
		    pwrite(fd, guard, GUARD, GUARD + LEASE_SIZE) == GUARD);
	if (fd != WORKER_FD_MEDIUM)
		close(fd);
	serve.setup.class = DISAGG_WIRE_CLASS_STORAGE;
	serve.setup.offset = GUARD;
	serve.setup.zero = true;
	lane_init(&storage_medium);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lane_input(data, size);
	fuzz_assert(guard_whole(0) && guard_whole(GUARD + LEASE_SIZE));
	return 0;
}
