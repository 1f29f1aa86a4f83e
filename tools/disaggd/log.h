/* SPDX-License-Identifier: GPL-2.0 */
/* Lines to stderr: with sd-daemon(3) priority prefixes when the journal reads it. */
#ifndef DISAGGD_LOG_H
#define DISAGGD_LOG_H

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
};

/* @who names the process in every line when nothing else does; kept, not copied. */
void log_open(const char *who);

__attribute__((format(printf, 2, 3)))
void log_line(enum log_level level, const char *fmt, ...);

#define log_error(...)		log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...)	log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)		log_line(LOG_LEVEL_INFO, __VA_ARGS__)

#endif
