// SPDX-License-Identifier: GPL-2.0
/*
 * disaggd: a lane of class memory (memory_lane.c, memory.c, lane.c). The lease's
 * memfd ends where the lease does, so whatever reaches beyond it is a SIGBUS.
 */
#include "lane.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	lane_init(&memory_medium);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lane_input(data, size);
	return 0;
}
