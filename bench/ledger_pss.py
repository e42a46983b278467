# SPDX-License-Identifier: Apache-2.0
"""The ledger against the kernel at random moments under load: bench/ledger_pss.py [MOMENTS [SEED]].
What host and workers take above an idle host, by the kernel's count, must be within 5 % of the
host's account, with what that keeps warm. Prints one JSON object; fails where it is not."""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "build/lib/libglovebox.a"
BRIDGE = ROOT / "build/bridge/release/libglovebox_bridge_host.a"
PROGRAM = ROOT / "build/bench/ledger_pss"
OFF_MAX = 0.05
# Below that 5 % is less than the pages of heap and stack that 14 calls touch.
FLOOR_KIB = 32 * 1024
UNDER_MAX = 0.01  # of the moments: the kernel has more than the ledger says
# The other way it is the ledger's nature: memory is charged before it is there, so guests that fill
# what they were just given, and outputs that wait for their turn, count whole. Bounded by size, for
# each of 14 calls; how often depends on how busy the machine is.
OVER_KIB_MAX = 14 * 2 * 1024
MEDIAN_MAX = 0.10
SLACK = 5  # times as many in a short run, where one moment is a large part


def build():
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-O2", "-std=gnu17", "-D_GNU_SOURCE", f"-I{ROOT}/src",
                    f"-I{ROOT}/include", f"{ROOT}/bench/ledger_pss.c", LIBRARY, BRIDGE, "-lcrypto",
                    "-lpthread", "-ldl", "-lm", "-lgcc_s", "-o", PROGRAM], check=True)


def measure(moments, seed):
    # The measurer lies in a folder of its own, not beside the compiler.
    os.environ.setdefault("GLOVEBOX_COMPILER", str(ROOT / "build/glovebox-compiler"))
    worker = os.environ.get("GLOVEBOX_WORKER") or ROOT / "build/glovebox-worker"
    out = subprocess.run([PROGRAM, worker, ROOT / "models/test/big64.onnx",
                          ROOT / "build/guests/nn-probe.wasm", ROOT / "build/guests/membomb.wasm",
                          str(moments), str(seed)], check=True, capture_output=True, text=True)
    rows, idle = [], {}
    for line in out.stdout.splitlines():
        kind, *words = line.split()
        if kind == "moment":
            rows.append([int(word) for word in words])
        elif kind == "idle":
            idle = dict(zip(("cold_kib", "warm_kib", "warm_ledger_kib", "end_kib",
                             "end_ledger_kib", "ledger_left_kib", "calls"),
                            (int(word) for word in words if word.lstrip("-").isdigit())))
    return rows, idle


def judge(rows, idle):
    """The ledger and the kernel are not read at one instant: what changed between the two readings
    of the ledger is not held against it."""
    offs, under, over, least, most = [], 0, 0, 0, 0
    for before, kernel, after in rows:
        kernel -= idle["cold_kib"]
        nearest = min(max(kernel, min(before, after)), max(before, after))
        difference = kernel - nearest
        allowed = OFF_MAX * max(nearest, FLOOR_KIB)
        under += difference > allowed
        over += -difference > allowed
        least, most = min(least, difference), max(most, difference)
        offs.append(abs(difference) / max(nearest, FLOOR_KIB))
    offs.sort()
    return {"moments": len(rows), "under": under, "over": over,
            "median_off": round(offs[len(offs) // 2], 4),
            "p99_off": round(offs[len(offs) * 99 // 100], 4), "max_off": round(offs[-1], 4),
            "kernel_has_more_kib": most, "ledger_has_more_kib": -least,
            "ledger_kib": [min(r[0] for r in rows), max(r[0] for r in rows)], **idle}


def main():
    moments = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    build()
    result = judge(*measure(moments, seed))
    print(json.dumps(result))
    slack = SLACK if moments < 500 else 1
    bad = (result["under"] > moments * UNDER_MAX * slack or
           result["ledger_has_more_kib"] > OVER_KIB_MAX or
           result["median_off"] > MEDIAN_MAX or result["ledger_left_kib"] != 0)
    sys.exit(bad)


if __name__ == "__main__":
    main()
