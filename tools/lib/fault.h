/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Why a command could not be done, and the exit code that says so. Functions of
 * libdisagg that work for an operator return 0 or a DSG_* code and describe the
 * reason in a struct dsg_fault.
 */
#ifndef DISAGG_LIB_FAULT_H
#define DISAGG_LIB_FAULT_H

#include "wire.h"

/* Exit codes of disaggctl; disaggctl(8) documents them. */
enum dsg_code {
	DSG_OK = 0,
	DSG_FAILED = 1,
	DSG_USAGE = 2,
	DSG_NOT_FOUND = 3,
	DSG_NO_SPACE = 4,
	DSG_CONFLICT = 5,
	DSG_ROLLED_BACK = 6,
	DSG_ROLLBACK_INCOMPLETE = 7,
	DSG_UNREACHABLE = 8,
	DSG_DENIED = 9,
	DSG_LOST = 10,
};

/**
 * struct dsg_fault - what went wrong, why, and what to try
 * @code: exit code; DSG_OK: nothing is wrong
 * @reason: one line or more for people, without a final newline
 * @hint: the next command or step to try; empty: none is known
 */
struct dsg_fault {
	enum dsg_code code;
	char reason[768];
	char hint[384];
};

/* Describe a failure, forgetting any earlier one. Returns @code. */
__attribute__((format(printf, 3, 4)))
int dsg_fault_set(struct dsg_fault *fault, enum dsg_code code, const char *fmt, ...);
/* Set the hint. Returns the fault's code, to be used as a return value. */
__attribute__((format(printf, 2, 3)))
int dsg_fault_hint(struct dsg_fault *fault, const char *fmt, ...);
/* Put text before the reason. Returns the fault's code. */
__attribute__((format(printf, 2, 3)))
int dsg_fault_prefix(struct dsg_fault *fault, const char *fmt, ...);
/* The failure of a system call on @what; @err is a positive errno. */
int dsg_fault_errno(struct dsg_fault *fault, int err, const char *what);
int dsg_fault_memory(struct dsg_fault *fault);
/* What the wire layer reported about target @name. */
int dsg_fault_wire(struct dsg_fault *fault, const struct dsg_error *error,
		   const char *name);
/* The keys for target @name cannot be used. */
int dsg_fault_keys(struct dsg_fault *fault, const struct dsg_error *error, const char *name);
/* The word for a code that the JSON of errors carries, such as "not-found". */
const char *dsg_code_name(enum dsg_code code);

#endif /* DISAGG_LIB_FAULT_H */
