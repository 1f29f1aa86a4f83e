// SPDX-License-Identifier: GPL-2.0
/*
 * A module that makes mistakes, for test_complaints_02: the name of one is written to its
 * parameter "make".
 */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>

static DEFINE_MUTEX(plant_one);
static DEFINE_MUTEX(plant_other);
static DEFINE_SPINLOCK(plant_spin);
static unsigned int plant_bits = 40;
static void *plant_kept;

static int plant_none(void)
{
	void *memory = kmalloc(100, GFP_KERNEL);

	kfree(memory);
	return memory ? 0 : -ENOMEM;
}

static int plant_freed(void)
{
	int *memory = kzalloc(100, GFP_KERNEL);

	plant_kept = memory;
	kfree(memory);
	plant_bits += READ_ONCE(*(int *)plant_kept);
	return 0;
}

static int plant_order(void)
{
	mutex_lock(&plant_one);
	mutex_lock(&plant_other);
	mutex_unlock(&plant_other);
	mutex_unlock(&plant_one);

	mutex_lock(&plant_other);
	mutex_lock(&plant_one);
	mutex_unlock(&plant_one);
	mutex_unlock(&plant_other);
	return 0;
}

static int plant_sleep(void)
{
	void *memory;

	spin_lock(&plant_spin);
	memory = kmalloc(100, GFP_KERNEL);
	spin_unlock(&plant_spin);
	kfree(memory);
	return 0;
}

static int plant_leak(void)
{
	int i;

	/* One may still be found on a stack. */
	for (i = 0; i < 10; i++)
		WRITE_ONCE(plant_kept, kmalloc(100, GFP_KERNEL));
	WRITE_ONCE(plant_kept, NULL);
	return 0;
}

static int plant_shift(void)
{
	return 1 << READ_ONCE(plant_bits) ? 0 : 0;
}

static void plant_rings(struct timer_list *timer)
{
}

static int plant_timer(void)
{
	struct timer_list *timer = kzalloc(sizeof(*timer), GFP_KERNEL);

	if (!timer)
		return -ENOMEM;
	timer_setup(timer, plant_rings, 0);
	mod_timer(timer, jiffies + 1000 * HZ);
	kfree(timer);
	return 0;
}

static const struct {
	const char *name;
	int (*make)(void);
} plant_mistakes[] = {
	{ "none", plant_none },
	{ "freed", plant_freed },
	{ "order", plant_order },
	{ "sleep", plant_sleep },
	{ "leak", plant_leak },
	{ "shift", plant_shift },
	{ "timer", plant_timer },
};

static int plant_set(const char *name, const struct kernel_param *unused)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(plant_mistakes); i++)
		if (sysfs_streq(name, plant_mistakes[i].name))
			return plant_mistakes[i].make();
	return -EINVAL;
}

static const struct kernel_param_ops plant_ops = { .set = plant_set };
module_param_cb(make, &plant_ops, NULL, 0200);

MODULE_DESCRIPTION("Mistakes on purpose, for the lab's own tests");
MODULE_LICENSE("GPL");
