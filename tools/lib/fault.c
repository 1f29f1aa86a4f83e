// SPDX-License-Identifier: GPL-2.0
/* Failures in words, with the exit code that each means. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"

int dsg_fault_set(struct dsg_fault *fault, enum dsg_code code, const char *fmt, ...)
{
	va_list args;

	fault->code = code;
	fault->hint[0] = '\0';
	va_start(args, fmt);
	vsnprintf(fault->reason, sizeof(fault->reason), fmt, args);
	va_end(args);
	return code;
}

int dsg_fault_hint(struct dsg_fault *fault, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(fault->hint, sizeof(fault->hint), fmt, args);
	va_end(args);
	return fault->code;
}

int dsg_fault_prefix(struct dsg_fault *fault, const char *fmt, ...)
{
	char text[sizeof(fault->reason)];
	va_list args;
	size_t used;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	used = strlen(text);
	snprintf(text + used, sizeof(text) - used, "%s", fault->reason);
	memcpy(fault->reason, text, sizeof(text));
	return fault->code;
}

int dsg_fault_errno(struct dsg_fault *fault, int err, const char *what)
{
	if (err == EACCES || err == EPERM) {
		dsg_fault_set(fault, DSG_DENIED, "%s: %s", what, strerror(err));
		return dsg_fault_hint(fault, "run it as root");
	}
	return dsg_fault_set(fault, DSG_FAILED, "%s: %s", what, strerror(err));
}

int dsg_fault_memory(struct dsg_fault *fault)
{
	return dsg_fault_set(fault, DSG_FAILED, "out of memory");
}

static enum dsg_code code_of_errno(int err)
{
	switch (err) {
	case ETIMEDOUT:
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETUNREACH:
	case ENETDOWN:
	case EPIPE:
	case EPROTO:
	case EPROTONOSUPPORT:
	case EBADMSG:
		return DSG_UNREACHABLE;
	case EACCES:
	case EPERM:
		return DSG_DENIED;
	default:
		return DSG_FAILED;
	}
}

static enum dsg_code code_of_status(unsigned int status)
{
	switch (status) {
	case DISAGG_WIRE_E_DENIED:
		return DSG_DENIED;
	case DISAGG_WIRE_E_NOT_FOUND:
		return DSG_NOT_FOUND;
	case DISAGG_WIRE_E_NO_SPACE:
		return DSG_NO_SPACE;
	case DISAGG_WIRE_E_STALE:
	case DISAGG_WIRE_E_BUSY:
		return DSG_CONFLICT;
	case DISAGG_WIRE_E_VERSION:
	case DISAGG_WIRE_E_CRC:
		return DSG_UNREACHABLE;
	default:
		return DSG_FAILED;
	}
}

int dsg_fault_wire(struct dsg_fault *fault, const struct dsg_error *error,
		   const char *name)
{
	enum dsg_code code = error->status ? code_of_status(error->status) :
					     code_of_errno(error->err);

	dsg_fault_set(fault, code, "target %s: %s", name, error->text);
	if (error->status == DISAGG_WIRE_E_VERSION || error->err == EPROTONOSUPPORT)
		return dsg_fault_hint(fault, "install the same release of disagg on both sides");
	if (error->err == EPROTO)
		return dsg_fault_hint(fault, "does its address name a disaggd? see: disaggctl target list");
	if (code == DSG_DENIED && !error->status)
		return dsg_fault_hint(fault, "its log says more; this host's keys: disaggctl doctor");
	if (code == DSG_UNREACHABLE)
		return dsg_fault_hint(fault, "is disaggd running there? see: disaggctl target list");
	if (code == DSG_NO_SPACE)
		return dsg_fault_hint(fault, "what is free: disaggctl resource list");
	return code;
}

int dsg_fault_keys(struct dsg_fault *fault, const struct dsg_error *error, const char *name)
{
	dsg_fault_set(fault, error->err == EACCES || error->err == EPERM ? DSG_DENIED : DSG_FAILED,
		      "target %s: its keys cannot be used: %s", name, error->text);
	return dsg_fault_hint(fault, "look at: disaggctl doctor");
}

const char *dsg_code_name(enum dsg_code code)
{
	static const char *const names[] = {
		[DSG_OK] = "ok",
		[DSG_FAILED] = "failed",
		[DSG_USAGE] = "usage",
		[DSG_NOT_FOUND] = "not-found",
		[DSG_NO_SPACE] = "insufficient-capacity",
		[DSG_CONFLICT] = "conflict",
		[DSG_ROLLED_BACK] = "rolled-back",
		[DSG_ROLLBACK_INCOMPLETE] = "rollback-incomplete",
		[DSG_UNREACHABLE] = "unreachable",
		[DSG_DENIED] = "denied",
		[DSG_LOST] = "lost",
	};

	return names[code];
}
