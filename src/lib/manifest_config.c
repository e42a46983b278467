/* SPDX-License-Identifier: Apache-2.0 */
/* `glovebox config`: every value of a manifest and where it came from. */
#include <glovebox/manifest.h>

#include <stdio.h>

#include "base/num.h"
#include "lib/json.h"
#include "lib/lib.h"
#include "manifest/manifest.h"

struct settings {
    struct gb_json j;
    yyjson_mut_val *list;
    const char *file;
};

static bool add_setting(void *user, const struct gb_manifest_value *v, struct gb_error **err) {
    static const char *const origins[] = {"default", "file", "flag", "env", "read"};
    struct settings *s = user;
    char at[32] = "";
    (void)err; /* memory that ran out is found at the end */
    yyjson_mut_val *object = yyjson_mut_obj(s->j.doc);
    gb_json_add_text(&s->j, object, "key", v->key);
    gb_json_add_text(&s->j, object, "value", v->value);
    gb_json_add_text(&s->j, object, "origin", origins[v->origin->kind]);
    if (v->origin->line > 0) {
        snprintf(at, sizeof at, "%u:%u", v->origin->line, v->origin->column);
    }
    gb_json_add_text(&s->j, object, "at", at[0] ? at : NULL);
    gb_json_add_text(&s->j, object, "from", v->origin->from);
    (void)yyjson_mut_arr_append(s->list, object);
    return true;
}

char *gb_manifest_config_json(const char *path, struct gb_error **err) {
    static const char *const kinds[] = {"glovebox", "spin", "program"};
    struct gb_manifest_options load = {.secrets_optional = true};
    struct gb_manifest *m = gb_manifest_load(path, &load, NULL, err);
    if (!m) {
        return NULL;
    }
    struct settings s = {.file = path};
    gb_json_init(&s.j);
    yyjson_mut_val *root = yyjson_mut_obj(s.j.doc);
    s.list = yyjson_mut_arr(s.j.doc);
    gb_json_add_text(&s.j, root, "file", path);
    gb_json_add_text(&s.j, root, "kind", kinds[m->kind]);
    gb_json_add(&s.j, root, "settings", s.list);
    char *text = NULL;
    if (gb_manifest_each_value(m, add_setting, &s, err)) {
        text = gb_json_finish(&s.j, root, 0, err);
    } else {
        gb_json_fini(&s.j);
    }
    gb_manifest_unref(m);
    return text;
}
