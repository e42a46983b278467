/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the sweep runs, again and again: one agent, in a folder with a cache and a key of its own.
 * Ends the program where a scenario cannot be set up (77: a guest is not built).
 */
#ifndef GB_TEST_SCENARIO_H
#define GB_TEST_SCENARIO_H

#include <stdbool.h>

struct scenario {
    const char *name;
    bool model;   /* with the digits and a worker */
    bool load;    /* the guest brings its model along */
    bool large;   /* its file is above what is kept in sealed memory */
    bool ahead;   /* compiled to a file first, which is what is run */
    bool fresh;   /* without a cache, a key and stored models before each faulty run */
};

/* NULL: no such scenario. */
const struct scenario *scenario_find(const char *name);
/* Makes the folder and the model's file, and points the environment there. Call once. */
void scenario_open(const struct scenario *s);
void scenario_close(void);
/* What earlier runs left is gone. */
void scenario_empty(void);
/* The first half-made file that lies in the folder; NULL: none. */
const char *scenario_litter(void);

const char *scenario_guest(void);
const char *scenario_artifact(void); /* where to compile to */
const char *scenario_model(void);
const char *scenario_argument(void);

#endif
