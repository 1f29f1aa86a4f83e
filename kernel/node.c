// SPDX-License-Identifier: GPL-2.0
/* Nodes: names for sets of devices, and the registry that holds both. */
#include <linux/ctype.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "node.h"

DEFINE_MUTEX(disagg_registry_lock);	/* see node.h */
DEFINE_XARRAY_ALLOC1(disagg_nodes);
u32 disagg_registry_seq;

static u32 disagg_node_next_id;

/* A name that is fit for a path, a udev rule and a table. */
bool disagg_name_is_valid(const char *name)
{
	const char *c;

	if (!isascii(name[0]) || !isalnum(name[0]) || strlen(name) > DISAGG_NAME_MAX)
		return false;
	for (c = name; *c; c++)
		if (!isascii(*c) || (!isalnum(*c) && !strchr("._-", *c)))
			return false;
	return true;
}

/* The registry is locked. */
struct disagg_node *disagg_node_find(const char *name)
{
	struct disagg_node *node;
	unsigned long id;

	lockdep_assert_held(&disagg_registry_lock);
	xa_for_each(&disagg_nodes, id, node)
		if (!strcmp(node->name, name))
			return node;
	return NULL;
}

/**
 * disagg_node_new - make an empty node
 * @name: a valid name
 *
 * The registry is locked. Return: the node, or -EEXIST, -ENOMEM.
 */
struct disagg_node *disagg_node_new(const char *name)
{
	struct disagg_node *node;
	int err;

	if (disagg_node_find(name))
		return ERR_PTR(-EEXIST);
	node = kzalloc_obj(*node, DISAGG_GFP_LOCKED);
	if (!node)
		return ERR_PTR(-ENOMEM);
	strscpy(node->name, name, sizeof(node->name));
	INIT_LIST_HEAD(&node->devices);
	node->created = ktime_get_real_ns();
	err = xa_alloc_cyclic(&disagg_nodes, &node->id, node, xa_limit_31b,
			      &disagg_node_next_id, DISAGG_GFP_LOCKED);
	if (err < 0) {
		kfree(node);
		return ERR_PTR(err);
	}
	disagg_registry_seq++;
	return node;
}

/* Delete a node without devices. The registry is locked. */
void disagg_node_del(struct disagg_node *node)
{
	lockdep_assert_held(&disagg_registry_lock);
	WARN_ON(!list_empty(&node->devices));
	xa_erase(&disagg_nodes, node->id);
	disagg_registry_seq++;
	kfree(node);
}

/* Delete what nodes are left; their devices are gone. */
void disagg_nodes_exit(void)
{
	struct disagg_node *node;
	unsigned long id;

	mutex_lock(&disagg_registry_lock);
	xa_for_each(&disagg_nodes, id, node)
		disagg_node_del(node);
	mutex_unlock(&disagg_registry_lock);
	xa_destroy(&disagg_nodes);
}
