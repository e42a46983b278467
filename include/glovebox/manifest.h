/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests without a server: what `glovebox check` and `glovebox config` print. A manifest is a
 * glovebox.toml, a Spin spin.toml (version 2) or a bare program; which, its content says.
 *
 * Threads: any. Ownership: texts are the caller's (gb_text_free). Nothing runs and nothing is
 * fetched; secrets are not needed, and never printed.
 */
#ifndef GLOVEBOX_MANIFEST_H
#define GLOVEBOX_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glovebox/api.h>

#ifdef __cplusplus
extern "C" {
#endif
GB_API_BEGIN

struct gb_error;
struct gb_host_options;

/* Checks a manifest and what it names: files, digests, imports against grants, models, how routes
 * enter their components, routes that hide others. Fails only where the file cannot be read.
 * {"ok","file","kind","errors":[E],"warnings":[E],"left_out":N,
 * "components":[{"name","source","digest","bytes","entry"}],
 * "models":[{"name","source","digest","bytes"}],
 * "routes":[{"path","methods","answers","kind"}],"shadows":[{"path","takes_from"}]};
 * E as gb_error_json writes it. *ret_exit_status: 0, or that of the first error. options may be
 * NULL. */
char *gb_manifest_check_json(const char *path, const struct gb_host_options *options,
                             int *ret_exit_status, struct gb_error **err);
/* Every value that a manifest comes to, and where it came from:
 * {"file","kind","settings":[{"key","value","origin":"default|file|env|read","at","from"}]}. */
char *gb_manifest_config_json(const char *path, struct gb_error **err);

GB_API_END
#ifdef __cplusplus
}
#endif
#endif
