#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the `digits` model and writes everything that belongs to it.

The classifier is a small perceptron on scikit-learn's bundled 8x8 digits, so training needs no
download. The ONNX graph is written by hand (Mul, Gemm, Relu, Gemm, Softmax) rather than converted,
so that the batch dimension has a name and nothing is in the file that is not needed.

Seeds are fixed and linear algebra is held to one thread: a second run on the same machine gives
the same bytes. Another CPU may round differently; the accuracy floor below must hold everywhere.
"""
import argparse
import hashlib
import os
import pathlib
import sys
import warnings

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read by ONNX Runtime when it is first imported

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

SEED = 7
HELD_OUT_ROWS = 450
HIDDEN_UNITS = 64
ITERATIONS = 200
PIXEL_MAX = 16
ACCURACY_MIN = 0.97
SAMPLE_COUNT = 6
LAYOUT = (
    "input: one row per picture, 64 grey values 0 (paper) to 16 (ink), 8 rows of 8 pixels, "
    "top-left first; output: the probability of each digit 0 to 9"
)


def load_rows():
    """Splits the data set; the held-out part is never shown to training."""
    data = load_digits()
    pixels = data.data.astype(np.float32)
    return train_test_split(
        pixels, data.target, test_size=HELD_OUT_ROWS, random_state=SEED, stratify=data.target
    )


def train(pixels, labels):
    """Trains on pixels scaled to 0..1, as the graph scales them."""
    classifier = MLPClassifier(
        hidden_layer_sizes=(HIDDEN_UNITS,), max_iter=ITERATIONS, random_state=SEED
    )
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        # 200 iterations are enough for the floor; full convergence is not the aim.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(pixels / np.float32(PIXEL_MAX), labels)
    return classifier


def build_model(classifier):
    """Writes the trained weights as an ONNX graph."""
    weights = [w.astype(np.float32) for w in classifier.coefs_]
    biases = [b.astype(np.float32) for b in classifier.intercepts_]
    constants = {
        "scale": np.array(1.0 / PIXEL_MAX, dtype=np.float32),
        "hidden_weight": weights[0],
        "hidden_bias": biases[0],
        "output_weight": weights[1],
        "output_bias": biases[1],
    }
    graph = helper.make_graph(
        nodes=[
            helper.make_node("Mul", ["input", "scale"], ["scaled"]),
            helper.make_node("Gemm", ["scaled", "hidden_weight", "hidden_bias"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "output_weight", "output_bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        name="digits",
        inputs=[helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 64])],
        outputs=[helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        initializer=[numpy_helper.from_array(v, name=k) for k, v in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="glovebox models/train_digits.py",
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def run_model(model_bytes, pixels):
    """Returns the probabilities that ONNX Runtime computes from the written file's bytes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"input": pixels})[0]


def write_held_out(path, pixels, labels):
    """One line per row: the label, then 64 integers. No header line."""
    lines = [
        ",".join([str(int(label))] + [str(int(value)) for value in row])
        for row, label in zip(pixels, labels)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def write_samples(path, pixels, labels):
    """The first held-out row of each of the first few labels to appear: not chosen by result."""
    lines, seen = [], set()
    for row, label in zip(pixels, labels):
        if label not in seen and len(lines) < SAMPLE_COUNT:
            seen.add(label)
            lines.append(f"{label}: " + " ".join(str(int(value)) for value in row))
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def main():
    parser = argparse.ArgumentParser(description="train the digits model and write its files")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    train_pixels, test_pixels, train_labels, test_labels = load_rows()
    classifier = train(train_pixels, train_labels)
    model_bytes = build_model(classifier)

    probabilities = run_model(model_bytes, test_pixels)
    correct = int(np.sum(np.argmax(probabilities, axis=1) == test_labels))
    accuracy = correct / len(test_labels)
    reference = classifier.predict_proba(test_pixels / np.float32(PIXEL_MAX))
    difference = float(np.max(np.abs(probabilities - reference)))
    digest = hashlib.sha256(model_bytes).hexdigest()
    print(f"trained on {len(train_labels)} rows, held out {len(test_labels)}")
    print(f"held-out accuracy: {accuracy:.4f} ({correct}/{len(test_labels)})")
    print(f"largest difference to scikit-learn: {difference:.2e}")
    print(f"{len(model_bytes)} bytes, sha256:{digest}")
    if accuracy < ACCURACY_MIN or difference > 1e-5:
        sys.exit(f"not written: below {ACCURACY_MIN} accuracy, or unlike scikit-learn")

    (out / "digits.onnx").write_bytes(model_bytes)
    (out / "digits.toml").write_text(
        f'digest = "sha256:{digest}"\nlayout = "{LAYOUT}"\n', encoding="ascii"
    )
    write_held_out(out / "digits_heldout.csv", test_pixels, test_labels)
    write_samples(out / "digits_samples.txt", test_pixels, test_labels)


if __name__ == "__main__":
    main()
