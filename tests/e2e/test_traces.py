"""Traces: what a collector is told of a signal, and that it may be away."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.test_live import an_alert, folder
from tests.live_process import ROOT, LiveProcess
from tests.waiting import eventually

__all__ = ["folder"]


@contextmanager
def a_collector() -> Iterator[tuple[str, list[Span]]]:
    """Where it listens, and the spans that it was told."""
    told: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            told.extend(
                span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
            )
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", told
    finally:
        server.shutdown()
        server.server_close()


def of_the_guide() -> tuple[str, str]:
    """The file of requirements and the variable that the guide names."""
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8").partition("<!-- test: traces -->")[2]
    required = re.search(r"pip install --requirement (\S+)\nexport (\w+)=\S+\npython portfolio_manager.py live\n", text)
    assert required is not None
    return required[1], required[2]


def test_what_the_guide_has_installed_is_what_is_there() -> None:
    pinned = re.findall(r"^([\w-]+)==(\S+)$", (ROOT / of_the_guide()[0]).read_text(encoding="utf-8"), re.MULTILINE)
    assert ("opentelemetry-sdk", version("opentelemetry-sdk")) in pinned
    assert [name for name, wanted in pinned if version(name) != wanted] == []


def values(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}


def test_a_signals_trace_is_its_fingerprint_and_tells_of_its_answer_and_its_commit(folder: Path) -> None:
    with a_collector() as (address, told):
        with LiveProcess(folder / "data", environment={of_the_guide()[1]: address}) as live:
            entry = an_alert()
            first, again = live.post(entry)[1], live.post(entry)[1]
            assert (first["status"], again["status"]) == ("executed", "duplicate")
        # Ended in an orderly way, it has sent what waited.
        assert eventually(lambda: len(told) == 3)
    assert {span.trace_id.hex() for span in told} == {first["fingerprint"][:32]}
    assert sorted(span.name for span in told) == ["alert", "alert", "commit"]
    answers = [values(span)["signal.answer"] for span in told if span.name == "alert"]
    assert answers == ["decided", "duplicate"]
    assert {values(span)["signal.fingerprint"] for span in told} == {first["fingerprint"]}
    whole, commit = (next(span for span in told if span.name == name) for name in ("alert", "commit"))
    assert commit.end_time_unix_nano - commit.start_time_unix_nano > 0
    assert whole.start_time_unix_nano <= commit.end_time_unix_nano


def test_a_collector_that_is_away_keeps_no_alert_waiting_and_ends_no_process(folder: Path) -> None:
    with LiveProcess(folder / "data", environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) as live:
        assert live.post(an_alert())[1]["status"] == "executed"
        live.process.terminate()
        assert live.process.wait(30) == 0
