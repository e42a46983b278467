# SPDX-License-Identifier: Apache-2.0
"""Builds app.py into a component that imports wasi:nn and nothing else.

    build.py COMPONENTIZE_PY WIT_DIR OUT.wasm

CPython imports all of WASI, sockets too, which no agent is granted. `--stub-wasi` replaces these
imports by traps, but takes every package named wasi:… for WASI, wasi:nn with it. So the component
is built against wasi:nn under another name of the same length, and gets the right one afterwards.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

RIGHT, OTHER = "wasi:nn", "wasx:nn"


def main():
    componentize, wit, out = sys.argv[1:]
    here = pathlib.Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        app = pathlib.Path(folder) / "app"
        app.mkdir()
        shutil.copy(here / "app.py", app)
        renamed = pathlib.Path(folder) / "wit"
        shutil.copytree(wit, renamed)
        for path in renamed.rglob("*.wit"):
            path.write_text(path.read_text().replace(RIGHT, OTHER))
        built = pathlib.Path(folder) / "out.wasm"
        subprocess.run([componentize, "--quiet", "-d", renamed, "-w", "agent-nn", "componentize",
                        "--stub-wasi", "app", "-p", app, "-o", built], check=True, cwd=folder)
        component = built.read_bytes()
    assert OTHER.encode() in component
    pathlib.Path(out).write_bytes(component.replace(OTHER.encode(), RIGHT.encode()))


if __name__ == "__main__":
    main()
