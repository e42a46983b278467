/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the command line share. The command line uses the public API only, plus base/
 * for errors and text, and yyjson to read what the library wrote.
 *
 * Threads: the main thread does the work; one thread waits for signals (signals.c).
 */
#ifndef GB_CLI_CLI_H
#define GB_CLI_CLI_H

#include "cli/options.h"
#include "glovebox/glovebox.h"

/* ---- verbs (main.c) ---- */

struct gb_verb {
    const char *name;
    const char *synopsis; /* after "glovebox NAME" */
    const char *summary;  /* one line for `glovebox --help` */
    const char *about;    /* paragraphs of --help; lines are broken by hand */
    const char *notes;    /* after the options; may be NULL */
    const struct gb_option_table *table; /* NULL where the verb comes later */
    int (*run)(const struct gb_verb *verb, int argc, char **argv); /* NULL: comes later */
};
extern const struct gb_verb gb_verb_run;
extern const struct gb_verb gb_verb_models;
extern const struct gb_verb gb_verb_inspect;
extern const struct gb_verb gb_verb_compile;
extern const struct gb_verb gb_verb_serve;
extern const struct gb_verb gb_verb_check;
extern const struct gb_verb gb_verb_config;
extern const struct gb_verb gb_verb_doctor;
extern const struct gb_verb gb_verb_version;

int gb_verb_help(const struct gb_verb *verb);

/* ---- output (output.c) ---- */

/* Our own text: as it is. Failures are remembered, not returned. */
void gb_out(int fd, const char *text, size_t len);
void gb_out_text(int fd, const char *text);
/* A guest's bytes: as they are into a file or pipe; on a terminal control bytes are shown as \xNN,
 * save newline and tab. */
void gb_out_guest(int fd, const char *bytes, size_t len);
/* Bytes of an unfinished character that gb_out_guest held back. */
void gb_out_guest_end(int fd);
/* True once a write to fd failed; nothing more is written to it. */
bool gb_out_failed(int fd);
/* The exit status, given that of the work: a failed stdout turns success into that of io. A broken
 * pipe is not reported, anything else is. */
int gb_out_exit_status(int status);

/* ---- errors and results (print.c) ---- */

/* error:, hint:, value: and cause: lines on stderr. */
void gb_print_error(const struct gb_error *e);
/* An error of a verb that has no result of its own. Takes e; returns the exit status. */
int gb_print_failure(struct gb_error *e, bool json);
/* Takes text (gb_text_free), a JSON object, and prints it with a newline. */
void gb_print_json(char *text);

/* Text for a person, with control bytes, newlines too, escaped. */
bool gb_append_line_text(struct gb_buf *out, const char *text, struct gb_error **err);
/* "12.3 ms", "64.0 MiB" */
void gb_append_duration(struct gb_buf *out, uint64_t us);
void gb_append_bytes(struct gb_buf *out, uint64_t bytes);

/* ---- signals (signals.c) ---- */

enum gb_interrupt_report { GB_INTERRUPT_TEXT, GB_INTERRUPT_JSON, GB_INTERRUPT_RUN_JSON };
/* Blocks SIGINT and SIGTERM in every thread to come and starts the one that takes them. */
bool gb_signals_start(struct gb_error **err);
/* What to print when a signal ends the program while the main thread cannot: the form only. */
void gb_signals_report_as(enum gb_interrupt_report form);
/* While polling, a first signal makes the descriptor readable and the main thread must end the
 * work; otherwise the signal thread reports and leaves at once. A second signal always does. */
void gb_signals_set_polling(bool polling);
int gb_signals_fd(void);
/* The signal that came first, or 0. */
int gb_signals_caught(void);
/* To be called before the last output: never returns if the signal thread was first. */
void gb_signals_claim_output(void);
/* Ends the process with its workers, whatever the other threads are doing. */
_Noreturn void gb_signals_leave(int status);

#endif
