/* SPDX-License-Identifier: GPL-2.0 */
/* Nodes and devices in words and as JSON, the same wherever they are shown. */
#ifndef DISAGGCTL_DESCRIBE_H
#define DISAGGCTL_DESCRIBE_H

#include "output.h"
#include "view.h"

/* A device that the module has. */
struct json_object *device_object(const struct dsg_kernel_device *dev);
/* A device that only the record has: state "absent". */
struct json_object *absent_object(const char *node, const struct dsg_record_device *dev);
/* A node; with @devices, these too. */
struct json_object *node_object(const struct host_view *view, const struct node_view *node,
				bool devices);
/* Print a node and its devices for people. */
void node_print(const struct host_view *view, const struct node_view *node);

/* /dev/disagg/NODE/DEVICE if udev has made it, else /dev/DISK. Returns @buf. */
char *device_path(const char *node, const char *name, const char *disk, char buf[128]);
/* The node's size in bytes, its number of devices, its targets ("a, b"). */
uint64_t node_size(const struct host_view *view, const struct node_view *node);
size_t node_device_count(const struct host_view *view, const struct node_view *node);
char *node_targets(const struct host_view *view, const struct node_view *node, char *buf,
		   size_t size);

#endif /* DISAGGCTL_DESCRIBE_H */
