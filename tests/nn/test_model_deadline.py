# SPDX-License-Identifier: Apache-2.0
"""A model's own deadline, set by its sidecar: one inference ends there, the call goes on."""
import shutil

import gb


def test_the_sidecar_deadline_ends_one_inference_and_is_the_guests_to_handle(tmp_path):
    shutil.copy(gb.TEST_MODELS / "slow200.onnx", tmp_path)
    (tmp_path / "slow200.toml").write_text('deadline = "20ms"\n')
    out = gb.run("--models", tmp_path, gb.GUESTS / "slow.wasm", "slow200")
    assert out.code == "guest-error" and out.status == 1, repr(out)
    assert out.error["cause"]["code"] == "deadline-exceeded", repr(out)
    assert "slow200" in out.error["cause"]["message"], repr(out)


def test_a_sidecar_deadline_that_is_long_enough_changes_nothing(tmp_path):
    shutil.copy(gb.TEST_MODELS / "slow200.onnx", tmp_path)
    (tmp_path / "slow200.toml").write_text('deadline = "20s"\n')
    out = gb.run("--models", tmp_path, gb.GUESTS / "slow.wasm", "slow200")
    assert out.json["ok"], repr(out)
