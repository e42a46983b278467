/* SPDX-License-Identifier: Apache-2.0 */
#include "scenario.h"

#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_CAP 512
#define TEXT_MAX 4096
#define PAD_BYTES (65u << 20)
#define LITTER ".new-"
#define KEY_NAME "cache.key"

static const struct scenario scenarios[] = {
    {.name = "echo"},
    {.name = "cold", .fresh = true},
    {.name = "ahead", .ahead = true, .fresh = true},
    {.name = "digits", .model = true},
    {.name = "store", .model = true, .large = true, .fresh = true},
    {.name = "stored", .model = true, .large = true},
    {.name = "load", .load = true},
};

static char folder[] = P_tmpdir "/glovebox-sweep-XXXXXX";
static char guest[PATH_CAP], artifact[PATH_CAP], model[PATH_CAP], cache[PATH_CAP], state[PATH_CAP];
static char argument[TEXT_MAX] = "a few words";
static char litter[PATH_CAP];

static _Noreturn void stop(const char *what, const char *path) {
    fprintf(stderr, "sweep: %s: %s\n", what, path);
    exit(1);
}

const struct scenario *scenario_find(const char *name) {
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        if (strcmp(scenarios[i].name, name) == 0) {
            return &scenarios[i];
        }
    }
    return NULL;
}

/* ---- the model ---- */

static void read_argument(void) {
    static const char path[] = GB_TEST_SOURCE_DIR "/models/digits_heldout.csv";
    FILE *file = fopen(path, "re");
    char *line = file ? fgets(argument, sizeof argument, file) : NULL;
    char *pixels = line ? strchr(line, ',') : NULL;
    if (!pixels) {
        stop("no sample", path);
    }
    memmove(argument, pixels + 1, strlen(pixels));
    argument[strcspn(argument, "\r\n")] = '\0';
    for (char *at = argument; (at = strchr(at, ',')) != NULL;) {
        *at = ' ';
    }
    fclose(file);
}

static void write_statements(void) {
    static const char path[] = GB_TEST_SOURCE_DIR "/models/test/relu3.onnx";
    FILE *file = fopen(path, "re");
    size_t len = (size_t)snprintf(argument, sizeof argument, "loadbytes ");
    for (int c; file && (c = getc(file)) != EOF && len < sizeof argument - 64; len += 2) {
        (void)snprintf(argument + len, sizeof argument - len, "%02x", (unsigned)c);
    }
    if (!file || !feof(file)) {
        stop("no model that is small enough", path);
    }
    (void)snprintf(argument + len, sizeof argument - len,
                   ";tensor x f32 3 f:-1,0,2.5;compute;print");
    fclose(file);
}

/* The digits with a very long comment: field 6 of the format's outermost message, a text. */
static void make_large(const char *small) {
    static const uint8_t tag = 6 << 3 | 2;
    (void)snprintf(model, sizeof model, "%s/large.onnx", folder);
    FILE *in = fopen(small, "re");
    FILE *out = fopen(model, "we");
    bool ok = in && out;
    for (int c; ok && (c = getc(in)) != EOF;) {
        ok = putc(c, out) != EOF;
    }
    ok = ok && putc(tag, out) != EOF;
    for (uint32_t n = PAD_BYTES; ok; n >>= 7) {
        ok = putc((int)((n & 127) | (n > 127 ? 128u : 0)), out) != EOF;
        if (n <= 127) {
            break;
        }
    }
    for (uint32_t n = 0; ok && n < PAD_BYTES; n++) {
        ok = putc_unlocked('x', out) != EOF;
    }
    if (!ok || fclose(out) != 0) {
        stop("could not make a large model", model);
    }
    fclose(in);
}

/* ---- the folder ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void remove_tree(const char *path) {
    if (nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0 && access(path, F_OK) == 0) {
        stop("could not remove", path);
    }
}

static int look_at_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st;
    const char *name = path + at->base;
    bool half = strstr(name, LITTER) || (strncmp(name, KEY_NAME, sizeof KEY_NAME - 1) == 0 &&
                                         strcmp(name, KEY_NAME) != 0);
    if (type == FTW_F && half) {
        (void)snprintf(litter, sizeof litter, "%s", path);
        return 1;
    }
    return 0;
}

const char *scenario_litter(void) {
    return nftw(folder, look_at_one, 8, FTW_PHYS) == 1 ? litter : NULL;
}

void scenario_empty(void) {
    remove_tree(cache);
    remove_tree(state);
    (void)unlink(artifact);
}

void scenario_open(const struct scenario *s) {
    static const char small[] = GB_TEST_SOURCE_DIR "/models/digits.onnx";
    (void)snprintf(guest, sizeof guest, "%s/build/guests/%s.wasm", GB_TEST_SOURCE_DIR,
                   s->model ? "agent" : s->load ? "nn-probe" : "echo");
    if (access(guest, R_OK) != 0) {
        printf("skipped: %s is not built\n", guest);
        exit(77);
    }
    if (!mkdtemp(folder)) {
        stop("could not make", folder);
    }
    (void)snprintf(cache, sizeof cache, "%s/cache", folder);
    (void)snprintf(state, sizeof state, "%s/state", folder);
    (void)snprintf(artifact, sizeof artifact, "%s/guest.gbc", folder);
    (void)setenv("GLOVEBOX_CACHE", cache, 1);
    (void)setenv("XDG_STATE_HOME", state, 1);
    (void)snprintf(model, sizeof model, "%s", small);
    if (s->model) {
        read_argument();
    }
    if (s->load) {
        write_statements();
    }
    if (s->large) {
        make_large(small);
    }
}

void scenario_close(void) {
    remove_tree(folder);
}

const char *scenario_guest(void) {
    return guest;
}

const char *scenario_artifact(void) {
    return artifact;
}

const char *scenario_model(void) {
    return model;
}

const char *scenario_argument(void) {
    return argument;
}
