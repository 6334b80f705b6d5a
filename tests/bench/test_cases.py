"""The cases and the pieces that only some of them use."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from bench.__main__ import parsed
from bench.cases import CASES
from bench.cores import Cores
from bench.load import Recorder, closed_loop
from bench.photos import HEIGHT, WIDTH, large_photo
from bench.result import Measurement
from bench.runner import Runner
from bench.servers import CONFIGS, Serving
from PIL import Image

from isochrone.config import load_config


def test_a_case_is_run_by_its_name() -> None:
    """Those that there are, and a word on any other."""
    assert {"echo", "session", "flood", "fanout", "llm", "photos"} <= CASES.keys()
    assert parsed(["flood", "llm"]).cases == ["flood", "llm"]
    with pytest.raises(SystemExit):
        parsed(["flod"])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_of_a_mesh_is_one(path: Path) -> None:
    """And has a name of its own."""
    assert load_config(path).mesh == f"bench-{path.stem}"


async def test_a_counted_load_ends_with_its_last_request() -> None:
    """Whoever sends them, and long before its time is up."""
    sent = []

    async def send() -> int:
        sent.append(None)
        await asyncio.sleep(0)
        return 0

    await closed_loop(send, Recorder(), callers=7, until_s=float("inf"), count=100)
    assert len(sent) == 100


def test_how_much_of_a_window_another_covers() -> None:
    """Load that was to run beside a window may have been over before it was."""

    def window(from_s: float, window_s: float) -> Measurement:
        return Measurement("mesh", "alone", 1, {"from_s": from_s, "window_s": window_s})

    assert window(10, 4).share_within(window(8, 20)) == 1
    assert window(10, 4).share_within(window(8, 3)) == pytest.approx(0.25)
    assert window(10, 4).share_within(window(20, 3)) == 0


def test_load_beside_a_load_is_no_servers_cpu() -> None:
    """Nor is it anybody else's."""
    data = {"requests": 1000, "window_s": 1.0, "cpu_s": {"load": 0.1, "load of flood": 0.5, "router": 0.2}}
    assert Measurement("mesh", "beside", 1, data).server_cpu_us == {"router": pytest.approx(200.0)}


def test_a_large_photo_is_one() -> None:
    """Some MB that decode to 12 million pixels, the same every time."""
    photo = large_photo(seed=3)
    assert Image.open(io.BytesIO(photo)).size == (WIDTH, HEIGHT)
    assert 1_000_000 < len(photo) < 4_000_000


async def test_a_load_in_the_background_has_begun_and_ends_with_its_block(tmp_path: Path) -> None:
    """Though nobody answers it, and it would go on for a minute."""
    runner = Runner(
        rounds=1, seconds=1, warmup_s=0, cores=Cores.of_this_process(), folder=tmp_path, say=lambda line: None
    )
    side = runner.side("mesh", Serving("127.0.0.1:9", {}), round=1, method="a.B/C", payloads=[b"x"])
    async with side.background("--seconds", "60", callers=2, nice=5) as load:
        assert load.process.returncode is None
    assert load.process.returncode is not None
