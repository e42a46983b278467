# SPDX-License-Identifier: Apache-2.0
"""Black-box tests: the real program, real guests, the real engine.

Run from the root of the repository:
    build/venv/bin/python -m pytest tests            short form
    build/venv/bin/python -m pytest tests --long     full counts (also GLOVEBOX_TEST_LONG=1);
                                                     timings without slack
GLOVEBOX_BIN names another program (default build/glovebox), GLOVEBOX_GUESTS another folder of
guests (default build/guests); GLOVEBOX_SLACK is the factor by which
the machine may be slower than promised (default 5; 1 with --long).
"""
import os
import pathlib
import sys

import pytest

# The engine in this process is the reference; it must not phone home either.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))

import gb  # noqa: E402  (needs the path above)

NEEDS_NO_PROGRAM = ("tidy/",)  # relative to tests/, where pytest.ini lies


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="full counts, timings without slack")
    parser.addoption("--part", metavar="I/N", help="only the tests whose number modulo N is I")


def pytest_configure(config):
    if os.environ.get("GLOVEBOX_TEST_LONG") == "1":  # how ./test --long says it
        config.option.long = True
    long = config.option.long
    if config.option.part:
        config.pluginmanager.register(Part())
    gb.configure(long, float(os.environ.get("GLOVEBOX_SLACK") or (1 if long else 5)))


def pytest_collection_modifyitems(session, config, items):
    needed = [i for i in items if not i.nodeid.startswith(NEEDS_NO_PROGRAM)]
    if needed and not os.access(gb.BINARY, os.X_OK):
        pytest.exit(f"there is no {gb.BINARY}: run `make` first, or set GLOVEBOX_BIN", 3)


class Part:
    """--part, counted over what -m and -k have left."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        number, _, parts = config.getoption("--part").partition("/")
        left_out = [i for n, i in enumerate(items) if n % int(parts) != int(number)]
        items[:] = items[int(number)::int(parts)]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def long(request):
    return request.config.getoption("--long")


@pytest.fixture(scope="session")
def hostile_models(tmp_path_factory):
    """The directory of hostile models and the code that each must end with."""
    directory = tmp_path_factory.mktemp("hostile-models")
    script = gb.ROOT / "models" / "make_hostile_models.py"
    out = gb.command([sys.executable, script, directory, "--step", "1999"], timeout=120)
    assert out.status == 0, out.stderr
    return directory, dict(line.split("\t") for line in out.stdout.splitlines())
