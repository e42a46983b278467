# SPDX-License-Identifier: Apache-2.0
"""Models above 64 MiB: kept in a content-addressed store in the cache folder and mapped."""
import hashlib
import os
import shutil
import subprocess

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import gb

MIB = 1 << 20


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """80 MiB of weights, of which three are added to the input."""
    path = tmp_path_factory.mktemp("big") / "big.onnx"
    weights = numpy.arange(20 * MIB, dtype=numpy.float32)
    ends = [numpy_helper.from_array(numpy.array([v], dtype=numpy.int64), n)
            for n, v in (("from", 0), ("to", 3))]
    graph = helper.make_graph(
        [helper.make_node("Slice", ["w", "from", "to"], ["v"]),
         helper.make_node("Add", ["x", "v"], ["y"])], "big",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        [numpy_helper.from_array(weights, "w"), *ends])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    assert path.stat().st_size > 80 * MIB
    return path


def run(big, cache, *options, **env):
    return gb.run("--model", f"big={big}", *options, gb.GUESTS / "bench.wasm", "big x f32 3 2",
                  env=gb.environment(GLOVEBOX_CACHE=cache, **env))


def stored(cache):
    folder = cache / "models" / "sha256"
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def test_a_large_model_runs_from_the_store_and_is_copied_once(big, tmp_path):
    out = run(big, tmp_path)
    assert out.json["ok"], repr(out)
    assert stored(tmp_path) == [digest(big)]
    file = tmp_path / "models" / "sha256" / digest(big)
    before = file.stat()
    assert before.st_mode & 0o777 == 0o400 and file.parent.stat().st_mode & 0o777 == 0o700
    assert run(big, tmp_path).json["ok"]
    assert file.stat().st_ino == before.st_ino and file.stat().st_mtime == before.st_mtime


def test_a_damaged_file_in_the_store_is_made_again(big, tmp_path):
    assert run(big, tmp_path).json["ok"]
    file = tmp_path / "models" / "sha256" / digest(big)
    times = file.stat()
    file.chmod(0o600)
    with open(file, "r+b") as f:
        f.seek(40 * MIB)
        f.write(b"\xff")
    file.chmod(0o400)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest(file) != file.name
    assert run(big, tmp_path).json["ok"]
    assert digest(file) == file.name


def test_a_store_that_others_can_write_is_refused(big, tmp_path):
    folder = tmp_path / "models" / "sha256"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    out = run(big, tmp_path)
    assert out.error["cause"]["code"] == "permission-denied", repr(out)
    assert stored(tmp_path) == []


def test_a_large_file_that_is_no_model_does_not_stay_in_the_store(big, tmp_path):
    bad = tmp_path / "bad.onnx"
    shutil.copy(big, bad)
    with open(bad, "r+b") as f:
        f.truncate(70 * MIB)
    out = run(bad, tmp_path / "cache")
    assert out.error["cause"]["code"] == "model-invalid", repr(out)
    assert stored(tmp_path / "cache") == []


def test_a_full_disk_is_said_and_leaves_nothing(big, tmp_path):
    cache = tmp_path / "small"
    cache.mkdir()
    listing = tmp_path / "listing"
    try:
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c",
             'mount -t tmpfs -o size=48m tmpfs "$1" || exit 77; "$2" run --json --model "big=$3" '
             '"$4" "big x f32 3 1"; find "$1" -type f > "$5"', "sh", cache, gb.BINARY, big,
             gb.GUESTS / "bench.wasm", listing],
            capture_output=True, timeout=120, env=gb.environment(GLOVEBOX_CACHE=cache))
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if not done.stdout:
        pytest.skip("this machine does not let us mount")
    text = done.stdout.decode()
    assert '"io"' in text and "No space left" in text and "--cache" in text, text
    assert "models" not in listing.read_text()
