# SPDX-License-Identifier: Apache-2.0
"""What the manifest allows is spent where it is spent, also after it is read again."""
import threading

import gb
import serving

SLOW = "".join([
    serving.component("slow", "slow", 'models = ["slow200"]\nlimits = { concurrency = 1 }'),
    f'[model.slow200]\nsource = "{gb.TEST_MODELS}/slow200.onnx"\n',
    serving.component("edge", "hello-http"),
    serving.route("/slow", "slow"), serving.route("/edge", "edge"), serving.fixed("/fixed"),
])


def tenant(budgets="", limits=""):
    return f"[tenant.default]\nbudgets = {{ {budgets} }}\nlimits = {{ {limits} }}\n"


def test_concurrency_of_a_component(tmp_path):
    """One of its calls runs, the others wait, and those of other components go on."""
    with serving.Server(tmp_path, "[host]\nloops = 2\n" + SLOW) as s:
        found = []

        def ask():
            found.append(s.ask("POST", "/slow", body=b"slow200").status)

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        s.wait_state(running=1, waiting=3)
        assert s.ask("GET", "/edge").status == 200
        assert s.state()["waiting"] > 0
        for thread in threads:
            thread.join(serving.READ_TIMEOUT_S)
        assert found == [200] * 4
        s.wait_state(running=0, waiting=0)


def test_leaving_the_queue_of_a_component(tmp_path):
    with serving.Server(tmp_path, "[host]\nloops = 2\n" + SLOW) as s:
        waiting = [s.raw() for _ in range(4)]
        for c in waiting:
            c.send(serving.request("POST", "/slow", body=b"slow200"))
        s.wait_state(running=1, waiting=3)
        for c in waiting:
            c.reset()
        s.wait_state(running=0, waiting=0)
        assert s.ask("POST", "/slow", body=b"slow200").status == 200


def test_inference_of_a_minute(tmp_path):
    with serving.Server(tmp_path, SLOW + tenant("inference-ms-per-minute = 100")) as s:
        assert s.ask("POST", "/slow", body=b"slow200").status == 200
        answer = s.ask("POST", "/slow", body=b"slow200").refused(429, "quota-exceeded")
        assert int(answer.get("retry-after")) > 0
        assert s.reload(SLOW + tenant("inference-ms-per-minute = 100000"))
        assert s.ask("POST", "/slow", body=b"slow200").status == 200


def test_budgets_are_read_again(tmp_path):
    with serving.Server(tmp_path, SLOW + tenant()) as s:
        for _ in range(3):
            assert s.ask("GET", "/edge").status == 200
        assert s.reload(SLOW + tenant("requests-per-second = 1"))
        found = [s.ask("GET", "/edge").status for _ in range(4)]
        assert 429 in found
        assert s.reload(SLOW + tenant('memory = "64KiB"'))
        s.ask("GET", "/edge").refused(429, "budget-exceeded")
        assert s.reload(SLOW + tenant())
        for _ in range(3):
            assert s.ask("GET", "/edge").status == 200


def test_a_tenant_named_twice(tmp_path):
    """A proxy that appends its header to the client's would let the client choose."""
    text = ('[host]\ntrusted-proxies = ["127.0.0.1/32"]\ntenant-header = "X-Tenant"\n'
            '[tenant.a]\nproxy-name = "a"\n[tenant.b]\nproxy-name = "b"\n' + serving.fixed("/"))
    with serving.Server(tmp_path, text) as s:
        assert s.ask("GET", "/", [("X-Tenant", "a")]).status == 200
        s.ask("GET", "/", [("X-Tenant", "a"), ("x-tenant", "b")]).refused(401, "unauthorized")


def test_outbound_hosts_are_not_built(tmp_path):
    more = 'allowed-outbound-hosts = ["https://example.org:443"]'
    text = serving.component("edge", "hello-http", more) + serving.route("/", "edge")
    s = serving.Server(tmp_path, text, wait=False)
    assert s.process.wait(gb.TIMEOUT_S) != 0
    assert "error: unsupported:" in s.log and "allowed-outbound-hosts" in s.log
    s.kill()


def test_a_folder_that_is_gone_is_not_told(tmp_path):
    """Where the host keeps its files is the operator's to know: it is in the log."""
    folder = tmp_path / "secret-place"
    folder.mkdir()
    text = (serving.component("edge", "hello-http", f'dirs = ["{folder}::/data"]')
            + serving.route("/", "edge"))
    with serving.Server(tmp_path, text) as s:
        assert s.ask("GET", "/").status == 200
        folder.rmdir()
        answer = s.ask("GET", "/").refused(500, "io")
        assert b"secret" not in answer.body
        gb.wait_for(lambda: "secret-place" in s.log, serving.READ_TIMEOUT_S)
