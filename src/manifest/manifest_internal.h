/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of manifest/ share. A file is read into a tree of nodes (doc.c), the tree into the
 * structs (glovebox.c, spin.c) by the table of settings (settings.c, forms.c), and then what names
 * what is checked (resolve.c).
 *
 * Errors: a wrong value is noted and reading goes on, so that a user sees all of them at once.
 * Functions that take a reader return false only where memory ran out; the reader has the error.
 */
#ifndef GB_MANIFEST_MANIFEST_INTERNAL_H
#define GB_MANIFEST_MANIFEST_INTERNAL_H

#include <stdarg.h>
#include <stddef.h>

#include "manifest/manifest.h"
#include "text/toml.h"

#define GB_PATH_BYTES_MAX 512u /* of a value: "tenant.acme.limits.memory" */
#define GB_DIGEST_BYTES 71u    /* "sha256:" and 64 digits */

/* ---- memory: one arena for each manifest (arena.c) ---- */

struct gb_arena_block {
    struct gb_arena_block *next;
    size_t cap, used;
};
struct gb_arena {
    struct gb_arena_block *blocks;
};
void gb_arena_fini(struct gb_arena *a);
/* Zeroed, for any type. */
void *gb_arena_alloc(struct gb_arena *a, size_t count, size_t bytes_each, struct gb_error **err);

/* ---- the tree (doc.c) ---- */

struct gb_node {
    struct gb_toml_value v; /* file, path and text live in the reader's scratch arena */
    const char *key;        /* without quotes; "" for an item of a list */
    struct gb_span key_span;
    struct gb_node *parent, *first, *last, *next;
    size_t children;
};

struct gb_reader {
    struct gb_arena *arena;   /* the manifest's */
    struct gb_arena scratch;  /* of reading: the tree */
    struct gb_manifest *m;
    const struct gb_manifest_options *options;
    struct gb_manifest_findings *findings;
    struct gb_error *fatal;   /* memory ran out, or the file is no TOML */
    const char *file;
    const char *folder;
    struct gb_node *root;
    size_t nodes;
    bool finding_stored;      /* the last one; so that a hint finds it */
};

bool gb_doc_read(struct gb_reader *r, struct gb_span text);
/* A member of a table, or NULL. */
struct gb_node *gb_node_get(const struct gb_node *table, const char *key);
struct gb_origin gb_node_origin(const struct gb_node *n);

/* ---- the reader (reader.c) ---- */

void *gb_reader_alloc(struct gb_reader *r, size_t count, size_t bytes_each);
char *gb_reader_copy(struct gb_reader *r, struct gb_span text);
char *gb_reader_format(struct gb_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A path of the manifest: as it is when absolute, else from the manifest's folder. */
char *gb_reader_path(struct gb_reader *r, struct gb_span path);

/* Note an error at a place, or a warning; the message is FILE:LINE:COLUMN: and what is given. A
 * hint belongs to the last one noted. */
void gb_note(struct gb_reader *r, const struct gb_origin *at, enum gb_code code,
             const char *format, ...) __attribute__((format(printf, 4, 5)));
void gb_note_node(struct gb_reader *r, const struct gb_node *n, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void gb_note_unsupported(struct gb_reader *r, const struct gb_node *n, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void gb_note_warning(struct gb_reader *r, const struct gb_origin *at, enum gb_code code,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));
void gb_note_hint(struct gb_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* An unknown key; known are those that there are at this place. */
void gb_note_unknown(struct gb_reader *r, const struct gb_node *n, const char *const *known,
                     size_t known_len);

/* Typed reading of what has no row. *ret_ok: whether it was right; else it is noted. */
bool gb_read_text(struct gb_reader *r, const struct gb_node *n, const char *example,
                  struct gb_span *ret_text);
/* Whether n is a table, or a list; else noted, with the line to type. */
bool gb_node_is_table(struct gb_reader *r, const struct gb_node *n, const char *example);
bool gb_node_is_list(struct gb_reader *r, const struct gb_node *n, const char *example);

/* ---- settings (settings.c) ---- */

enum gb_setting_table { GB_TABLE_HOST, GB_TABLE_LIMITS, GB_TABLE_MODEL, GB_TABLE_TENANT,
                        GB_TABLE_BUDGETS, GB_TABLE_COMPONENT, GB_TABLE_ROUTE, GB_TABLES };
enum gb_setting_kind { GB_SETTING_SIZE, GB_SETTING_DURATION, GB_SETTING_COUNT, GB_SETTING_BOOL,
                       GB_SETTING_CHOICE, GB_SETTING_TEXT, GB_SETTING_PATH, GB_SETTING_LIST,
                       GB_SETTING_OTHER };
enum gb_setting_form { GB_FORM_ANY, GB_FORM_REQUIRED, GB_FORM_ADDRESS, GB_FORM_URL, GB_FORM_HEADER,
                       GB_FORM_CIDR, GB_FORM_DIGEST, GB_FORM_KEY_HASH, GB_FORM_HOST, GB_FORM_TOKEN,
                       GB_FORM_NAME, GB_FORM_MODEL, GB_FORM_GRANT, GB_FORM_OUTBOUND, GB_FORM_LABEL,
                       GB_FORM_METHOD, GB_FORM_ROUTE, GB_FORM_CALL };
struct gb_setting {
    enum gb_setting_table table;
    const char *key;
    enum gb_setting_kind kind;
    const char *initial;
    uint64_t min, max;
    enum gb_setting_form form;
    const char *choices;
    const char *doc;
    size_t offset;
};
const struct gb_setting *gb_settings_of(enum gb_setting_table table, size_t *ret_len);

/* An object of one table: the struct, its origins (one for each row), and keys beside the rows. */
struct gb_object {
    enum gb_setting_table table;
    void *fields;
    struct gb_origin *origins;
    const struct gb_origin *at;     /* of the object: for what it lacks */
    const char *const *more;        /* keys that `other` reads, too */
    size_t more_len;
    bool (*other)(struct gb_reader *r, const struct gb_node *n, void *user);
    void *user;
    uint32_t given;                 /* of LIMITS: bit per row */
};
struct gb_origin *gb_origins_new(struct gb_reader *r, enum gb_setting_table table);
/* That the key of the table was written at n. */
void gb_origin_set(struct gb_origin *origins, enum gb_setting_table table, const char *key,
                   const struct gb_node *n);
bool gb_object_defaults(struct gb_reader *r, struct gb_object *o);
bool gb_object_read(struct gb_reader *r, struct gb_object *o, const struct gb_node *table);
/* One setting from a text: a default, a flag. *ret_ok: whether it was right. */
bool gb_setting_set_text(struct gb_reader *r, struct gb_object *o, const struct gb_setting *row,
                         struct gb_span text, const struct gb_origin *origin, bool *ret_ok);
/* A value as it would be written (scratch or static text); NULL: memory ran out. */
struct gb_buf;
bool gb_setting_show(const struct gb_setting *row, const void *fields, struct gb_buf *out,
                     struct gb_error **err);
void gb_size_text(uint64_t bytes, char *out, size_t cap);
void gb_duration_text(uint64_t us, char *out, size_t cap);
bool gb_show_text(const char *text, struct gb_buf *out, struct gb_error **err);

/* ---- forms (forms.c) ---- */

/* What is wrong with the text ("is no address") and what to write, or NULL twice. */
struct gb_form_fault {
    const char *what;
    const char *hint;
};
struct gb_form_fault gb_form_check(enum gb_setting_form form, struct gb_span text);
bool gb_form_cidr(struct gb_span text, struct gb_cidr *ret_cidr);
bool gb_form_name_ok(struct gb_span text);
bool gb_form_outbound_ok(struct gb_span text);
bool gb_form_token_ok(struct gb_span text); /* of HTTP */

/* ---- pairs, folders, secrets (pairs.c) ---- */

enum gb_pair_use { GB_PAIRS_ENV, GB_PAIRS_VARIABLES, GB_PAIRS_HEADERS };
bool gb_read_pairs(struct gb_reader *r, const struct gb_node *n, enum gb_pair_use use,
                   struct gb_manifest_pairs *ret_pairs);
bool gb_pair_name_check(struct gb_reader *r, const struct gb_node *n, enum gb_pair_use use,
                        bool *ret_ok);
bool gb_read_dirs(struct gb_reader *r, const struct gb_node *n,
                  const struct gb_manifest_dir **ret_dirs, size_t *ret_len);
bool gb_read_static(struct gb_reader *r, const struct gb_node *n, const char *status_key,
                    struct gb_manifest_static *ret_answer);

/* ---- kinds of files ---- */

bool gb_read_glovebox(struct gb_reader *r); /* glovebox.c */
bool gb_read_spin(struct gb_reader *r);     /* spin.c */
bool gb_read_program(struct gb_reader *r, const char *path);
bool gb_read_host_defaults(struct gb_reader *r);

/* Spin's variables and templates (template.c). */
struct gb_spin_variables {
    struct gb_manifest_pair *items;
    size_t len;
};
bool gb_spin_variables_read(struct gb_reader *r, const struct gb_node *n,
                            struct gb_spin_variables *ret_variables);
/* The text with each {{ name }} replaced. *ret_value is NULL where that is not possible: noted, or
 * a secret was left unread. */
bool gb_spin_template(struct gb_reader *r, const struct gb_spin_variables *variables,
                      const struct gb_node *n, const char **ret_value, bool *ret_secret);
bool gb_spin_component_read(struct gb_reader *r, const struct gb_spin_variables *variables,
                            const struct gb_node *n, struct gb_manifest_component *ret_component,
                            struct gb_origin *origins);

/* ---- routes (route.c) ---- */

/* Splits a path that has the form of a route. */
bool gb_route_split(struct gb_reader *r, struct gb_manifest_route *route);

/* ---- what names what (resolve.c) ---- */

bool gb_resolve(struct gb_reader *r);
/* The one tenant of a manifest without. */
bool gb_tenant_default(struct gb_reader *r);

#endif
