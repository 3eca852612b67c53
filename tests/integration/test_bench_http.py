"""The benchmarks over HTTP at a tiny scale: servers, controls and load generator do what is said of them."""

import os
from pathlib import Path

import msgspec
import pytest

from qtinfra.bench import BenchResult, run
from qtinfra.bench.http_api import fdatasync_us
from qtinfra.bench.http_load import Load, frame_end, requests_of, text_frame
from qtinfra.bench.http_servers import apart, run_load, serve
from qtinfra.bench.registry import HTTP

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", list(HTTP))
def test_a_benchmark_over_http_gives_a_well_formed_result_at_a_tiny_scale(name: str) -> None:
    (result,) = run([name], scale=0.001)
    assert result.name == name
    assert min(result.ops_per_s, result.cpu_us_per_op, result.control, result.p50_us) > 0
    assert result.p50_us <= result.p99_us
    assert result.ratio == pytest.approx(result.ops_per_s / result.control)
    assert result.target and result.met is None
    assert msgspec.json.decode(msgspec.json.encode(result), type=BenchResult) == result


def test_every_request_of_a_load_is_sent_once_with_numbers_of_its_own() -> None:
    load = Load(
        port=1, head="POST {path}\r\n", bodies=("a@@", "b@"), paths=("/x",), requests=3, connections=1
    )
    ours = [
        request.partition(b"\r\n\r\n")
        for request in requests_of(msgspec.structs.replace(load, first_number=9))
    ]
    assert [body for _, _, body in ours] == [b"a910", b"b11", b"a1213"]
    assert ours[0][0] == b"POST /x\r\ncontent-length: 4"


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_frame_says_how_long_it_is(size: int) -> None:
    sent = text_frame(b"x" * size)
    unmasked = sent[:1] + bytes([sent[1] & 0x7F]) + sent[2 : len(sent) - size - 4] + sent[len(sent) - size :]
    start, end = frame_end(unmasked)
    assert unmasked[start:end] == b"x" * size
    assert end == len(unmasked)
    assert frame_end(unmasked[:-1]) == (0, 0)


def test_a_measured_server_has_a_processor_to_itself_while_it_is_measured(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    with apart() as cores, serve("qtinfra", tmp_path, cores) as server:
        assert os.sched_getaffinity(0) == cores.others
        assert cores.server | cores.others == before
        assert len(cores.server) == 1
        assert len(before) == 1 or not cores.server & cores.others
        threads, projector = server.processors()
        assert threads == {cores.server}
        assert projector == {cores.others}
    assert os.sched_getaffinity(0) == before


def test_a_load_that_is_not_accepted_is_no_result(tmp_path: Path) -> None:
    with serve("commit", tmp_path) as server:
        load = Load(port=server.port, head="GET {path} HTTP/1.1\r\nhost: x\r\n", requests=2, connections=1)
        assert run_load(msgspec.structs.replace(load, paths=("/healthz",))).statuses == {"200": 2}
        with pytest.raises(RuntimeError, match="404"):
            run_load(msgspec.structs.replace(load, paths=("/nothing",)))


def test_a_sync_takes_time(tmp_path: Path) -> None:
    assert fdatasync_us(tmp_path, 3) > 0
