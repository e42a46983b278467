# SPDX-License-Identifier: Apache-2.0
"""The library as others get it: what it exports, and a program built against the installed tree."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import gb

HERE = pathlib.Path(__file__).parent
LIBRARIES = gb.BINARY.parent / "lib"
SHARED = LIBRARIES / "libglovebox.so.0"
SYMBOLS = gb.ROOT / "src" / "lib" / "symbols.txt"
BUILD = next(d for d in (gb.BINARY.parent.parent, gb.BINARY.parent / "release")
             if (d / "cmake_install.cmake").is_file())
PIXELS = (gb.MODELS / "digits_samples.txt").read_text().splitlines()[0].partition(":")[2].strip()


def tool(*args, **kwargs):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=300,
                          **kwargs)
    assert done.returncode == 0, f"{args}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def listed():
    names = SYMBOLS.read_text().split()
    assert names == sorted(set(names)), f"{SYMBOLS} is not sorted, or names something twice"
    return set(names)


def declared():
    """The functions of the public headers."""
    found = set()
    for header in sorted((gb.ROOT / "include" / "glovebox").glob("*.h")):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        text = re.sub(r"^\s*#.*(?:\\\n.*)*$", "", text, flags=re.M)
        text = re.sub(r"\btypedef\b[^;]*;", "", text)
        text = re.sub(r"\b(struct|union|enum) \w+ \{.*?^\}[^;]*;", "", text, flags=re.S | re.M)
        found |= set(re.findall(r"\b(gb_\w+)\(", text))
    return found


def exported():
    out = tool("nm", "-D", "--defined-only", SHARED)
    names = {line.split()[2] for line in out.splitlines() if line.split()[1] != "A"}
    return {name.partition("@")[0] for name in names}


def test_the_list_of_symbols_is_what_the_headers_declare():
    assert declared() == listed(), "src/lib/symbols.txt must list each public function, no other"


def test_the_shared_library_exports_the_list_and_nothing_else():
    assert exported() == listed()


def test_the_shared_library_asks_for_the_system_only():
    out = tool("readelf", "-d", SHARED)
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", out))
    known = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libcrypto.so.3", "libssl.so.3",
             "libuv.so.1"}
    assert {n for n in needed if not n.startswith("ld-linux")} <= known
    assert re.search(r"\(SONAME\).*\[libglovebox\.so\.0\]", out)
    assert not re.search(r"\((RPATH|RUNPATH|TEXTREL)\)", out)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """What `cmake --install` makes of the release build, in a folder of its own."""
    prefix = tmp_path_factory.mktemp("installed")
    tool("cmake", "--install", BUILD, "--prefix", prefix)
    libdir = next(p.parent for p in prefix.rglob("libglovebox.so.0"))
    yield prefix, libdir
    shutil.rmtree(prefix)  # 250 MB


def check_runs(program, libdir, helpers=None):
    """Nothing but the library says where helpers and engine are, unless it is linked in."""
    env = gb.environment(LD_LIBRARY_PATH=libdir, GLOVEBOX_CACHE=libdir.parent / "cache",
                         GLOVEBOX_WORKER=helpers and helpers / "glovebox-worker",
                         GLOVEBOX_COMPILER=helpers and helpers / "glovebox-compiler",
                         GLOVEBOX_ORT_LIB=helpers and libdir / "glovebox" / "libonnxruntime.so.1")
    for name in ("agent.wasm", "agent-0819.wasm"):
        out = gb.command([program, gb.MODELS, gb.GUESTS / name, PIXELS], env=env)
        assert out.status == 0 and re.match(r"class=\d scores=\[", out.stdout), repr(out)
    out = gb.command([program, gb.MODELS, gb.GUESTS / "agent.wasm", "no pixels"], env=env)
    assert out.status == 1 and out.stdout.startswith("guest-error: "), repr(out)
    out = gb.command([program, gb.MODELS, gb.MODELS / "digits.onnx", ""], env=env)
    assert out.status == 125 and ": " in out.stdout, repr(out)


def test_the_installed_tree_is_complete(tree):
    prefix, libdir = tree
    assert (libdir / "libglovebox.so").resolve().name == "libglovebox.so.0.1.0"
    for name in ("bin/glovebox", "libexec/glovebox/glovebox-worker", "include/glovebox/glovebox.h"):
        assert (prefix / name).is_file(), name
    for name in ("libglovebox.a", "libglovebox_bridge_host.a", "pkgconfig/glovebox.pc",
                 "cmake/glovebox/gloveboxConfig.cmake", "glovebox/libonnxruntime.so.1"):
        assert (libdir / name).is_file(), name
    for header in (gb.ROOT / "include" / "glovebox").glob("*.h"):
        assert (prefix / "include" / "glovebox" / header.name).is_file(), header.name
    env = gb.environment(GLOVEBOX_WORKER=None, GLOVEBOX_ORT_LIB=None, GLOVEBOX_COMPILER=None,
                         GLOVEBOX_CACHE=prefix / "cache")
    out = gb.command([prefix / "bin" / "glovebox", "run", "--models", gb.MODELS,
                      gb.GUESTS / "agent.wasm", PIXELS], env=env)
    assert out.status == 0 and out.stdout.startswith("class="), repr(out)


def pkg_config(libdir, *options):
    env = {**os.environ, "PKG_CONFIG_PATH": str(libdir / "pkgconfig")}
    return tool("pkg-config", *options, "glovebox", env=env).split()


WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


@pytest.mark.parametrize("compiler", [["gcc", "-std=c11"], ["clang-14", "-std=c17"],
                                      ["clang++-14", "-std=c++17", "-x", "c++"]],
                         ids=lambda c: c[1])
def test_an_embedder_by_pkg_config(tree, tmp_path, compiler):
    _, libdir = tree
    program = tmp_path / "embedder"
    tool(*compiler, *WARNINGS, *pkg_config(libdir, "--cflags"), HERE / "embedder.c", "-o", program,
         *pkg_config(libdir, "--libs"))
    assert "libglovebox.so.0" in tool("readelf", "-d", program)
    check_runs(program, libdir)


def test_an_embedder_linked_with_the_archives(tree, tmp_path):
    """Ours alone, by the archive's full name; then the program says where the worker is."""
    prefix, libdir = tree
    program = tmp_path / "embedder"
    libs = ["-l:libglovebox.a" if lib == "-lglovebox" else lib
            for lib in pkg_config(libdir, "--static", "--libs")]
    assert "-l:libglovebox.a" in libs and "-lcrypto" in libs
    tool("gcc", "-std=c11", *WARNINGS, "-fuse-ld=lld", "-Wl,--gc-sections",
         *pkg_config(libdir, "--cflags"), HERE / "embedder.c", "-o", program, *libs)
    assert "libglovebox" not in tool("readelf", "-d", program)
    check_runs(program, libdir, prefix / "libexec" / "glovebox")


def test_the_forty_lines_of_the_guide(tree, tmp_path):
    """docs/EMBEDDING.md: its first program, with the command that it gives."""
    _, libdir = tree
    guide = (gb.ROOT / "docs" / "EMBEDDING.md").read_text()
    source = re.search(r"^```c\n(.*?)^```$", guide, re.S | re.M).group(1)
    (tmp_path / "embed.c").write_text(source)
    assert "cc -std=c11 embed.c $(pkg-config --cflags --libs glovebox) -o embed" in guide
    tool("gcc", "-std=c11", *WARNINGS, tmp_path / "embed.c", "-o", tmp_path / "embed",
         *pkg_config(libdir, "--cflags", "--libs"))
    env = gb.environment(LD_LIBRARY_PATH=libdir, GLOVEBOX_WORKER=None, GLOVEBOX_ORT_LIB=None,
                         GLOVEBOX_COMPILER=None, GLOVEBOX_CACHE=tmp_path / "cache")
    out = gb.command([tmp_path / "embed", gb.MODELS, gb.GUESTS / "agent.wasm", PIXELS], env=env)
    assert out.status == 0 and out.stdout.startswith("class="), repr(out)
    out = gb.command([tmp_path / "embed", gb.MODELS, gb.GUESTS / "agent.wasm", "?"], env=env)
    assert out.status == 1 and out.stderr.startswith("error: guest-error: "), repr(out)
    out = gb.command([tmp_path / "embed", gb.MODELS, tmp_path / "no.wasm", ""], env=env)
    assert out.status == 101 and out.stderr.startswith("error: not-found: "), repr(out)


CMAKE_LISTS = """cmake_minimum_required(VERSION 3.16)
project(embedder LANGUAGES C)
find_package(glovebox 0.1 REQUIRED)
foreach(kind glovebox static)
    add_executable(embedder_${kind} "${EMBEDDER}")
    target_link_libraries(embedder_${kind} PRIVATE glovebox::${kind})
    target_link_options(embedder_${kind} PRIVATE -fuse-ld=lld)
endforeach()
"""


def test_an_embedder_by_find_package(tree, tmp_path):
    prefix, libdir = tree
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_LISTS)
    tool("cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "build",
         f"-DCMAKE_PREFIX_PATH={prefix}", f"-DEMBEDDER={HERE / 'embedder.c'}")
    tool("cmake", "--build", tmp_path / "build")
    check_runs(tmp_path / "build" / "embedder_glovebox", libdir)
    check_runs(tmp_path / "build" / "embedder_static", libdir, prefix / "libexec" / "glovebox")
