# SPDX-License-Identifier: Apache-2.0
"""What a manifest may say and the server does not do yet is refused when it starts, by name."""
import pytest

import gb

FIXED = '[[route]]\npath = "/"\nstatic = { status = 200 }\n'
MODEL = f'[model.m]\nsource = "{gb.MODELS}/digits.onnx"\n'
COMPONENT = f'[component.c]\nsource = "{gb.GUESTS}/hello.wasm"\n'


@pytest.mark.parametrize("text, key", [
    ('[host]\notlp-endpoint = "http://127.0.0.1:4318"\n', "otlp-endpoint"),
    (MODEL + "context = 4096\n", "context"),
    (MODEL + "parallel = 4\n", "parallel"),
    (MODEL + 'kv-budget = "1MiB"\n', "kv-budget"),
    ('[tenant.t]\nhosts = ["t"]\nbudgets = { egress-bytes-per-minute = "1MiB" }\n',
     "egress-bytes-per-minute"),
    (COMPONENT + 'allowed-outbound-hosts = ["https://example.org"]\n', "allowed-outbound-hosts"),
    (COMPONENT + 'key-value-stores = ["default"]\n', "key-value-stores"),
    (COMPONENT + 'variables = { a = "b" }\n', "variables"),
])
def test_what_is_only_said_is_refused(tmp_path, text, key):
    file = tmp_path / "glovebox.toml"
    file.write_text(text + FIXED)
    out = gb.glovebox("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", file)
    assert out.status == 101, repr(out)
    assert "error: unsupported: " in out.stderr and key in out.stderr, repr(out)


def test_a_manifest_without_routes_is_refused(tmp_path):
    file = tmp_path / "glovebox.toml"
    file.write_text(MODEL)
    out = gb.glovebox("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", file)
    assert out.status == 101 and "manifest-invalid" in out.stderr, repr(out)
