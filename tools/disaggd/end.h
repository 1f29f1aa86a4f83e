/* SPDX-License-Identifier: GPL-2.0 */
/* disaggd --end-lease. */
#ifndef DISAGGD_END_H
#define DISAGGD_END_H

/*
 * End the open leases with these numbers, a list that ends with NULL, in the journal, which
 * is open, and print what each was; print all that are open if there are none. 0 or -errno
 * after logging why: those before it have ended.
 */
int end_leases(char *const *generations);

#endif
