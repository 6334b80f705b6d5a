"""`isochrone page`: one call, three services, on the user's own photo and visitor, as it comes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console

from harness import RedisServer
from isochrone.cli import page_view
from isochrone.cli.page_view import Legs
from isochrone.cli.product_page import CLASSIFY, EMBED, GENERATE, RANK, PageSoFar, page_legs
from isochrone.cli.shop import Shop
from isochrone.client import Budget, Leg, LegChunk, LegResult, Outcome
from isochrone.config import load_config
from isochrone.errors import DeadlineExceeded
from isochrone.stack import Stack
from isochrone.v1.budget_pb2 import BudgetReport
from isochrone.v1.llm_pb2 import GenerateChunk
from isochrone.v1.recsys_pb2 import RankRequest, RankResponse
from isochrone.v1.vision_pb2 import ClassifyResponse

ALL = (RANK, CLASSIFY, EMBED, GENERATE)


def legs(routes: tuple[str, ...] = ALL, *, image: bytes | None = b"jpeg", prompt: str | None = None) -> dict[str, Leg]:
    return page_legs(routes, ranking=RankRequest(item_ids=[1]), image=image, prompt=prompt)


def budget(total_us: int, **more: int) -> Budget:
    report = BudgetReport(objective_us=15_000, total_us=total_us, node="n-0", **more)  # type: ignore[arg-type]
    report.stage_us.extend((0, 0, 0, total_us, 0, 0))
    return Budget(report)


def ended(name: str, payload: bytes = b"", *, total_us: int = 4_000, **more: int) -> LegResult:
    return LegResult(name, Outcome.OK, payload, None, budget(total_us, **more))


def drawn(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_page_asks_for_what_the_mesh_serves() -> None:
    """The text waits for the photo's first label, unless it is told what to be about."""
    assert list(legs()) == ["ranking", "labels", "embedding", "text"]
    (take,) = legs()["text"].takes
    assert (take.leg, take.most) == ("labels", 1)
    assert list(legs((RANK,))) == ["ranking"]
    assert list(legs(image=None)) == ["ranking"]
    about = legs(image=None, prompt="name: mug")
    assert (list(about), about["text"].takes) == (["ranking", "text"], ())


def test_a_page_is_drawn_as_it_comes() -> None:
    """What is there, in its place; what is missing says why; a leg that waited begins where the other ended."""
    page = PageSoFar(legs())
    assert drawn(page_view.page(page, str)).strip() == ""
    for part in (
        ended("labels", ClassifyResponse(labels=["mug"], probabilities=[0.9]).SerializeToString()),
        LegChunk("text", GenerateChunk(text="The mug ").SerializeToString()),
        ended("ranking", RankResponse(item_ids=[7], scores=[0.5]).SerializeToString()),
        LegChunk("text", GenerateChunk(text="is blue.").SerializeToString()),
        LegResult("embedding", Outcome.MISSED, b"", DeadlineExceeded("no time left"), None),
    ):
        page.take(part)
    text = drawn(page_view.page(page, lambda ids: [f"item {id}" for id in ids]))
    for words in ("item 7", "50.0 %", "mug", "90.0 %", "The mug is blue.", "embedding missed: no time left"):
        assert words in text
    page.take(ended("text", total_us=8_000, first_us=2_000, chunks=2))
    assert not page.complete
    assert page.began_ms("text") == 4.0
    lines = {line.split()[0]: line for line in drawn(Legs(page)).splitlines()}
    assert "4.00 of 15 ms in time" in lines["ranking"]
    assert "2.00 of 15 ms in time  2 chunks in 8 ms" in lines["text"]
    assert lines["text"].index("█") > lines["labels"].index("█")


@pytest.fixture
async def shop(tmp_path: Path, redis: RedisServer, tiny_models: Path) -> AsyncIterator[tuple[Path, str]]:
    """The shop's mesh with small models: its file and its router's address."""
    usual = (Path(__file__).parents[2] / "deploy" / "mesh.yaml").read_text()
    file = tmp_path / "mesh.yaml"
    for address in ("127.0.0.1:50051", "127.0.0.1:8080"):
        usual = usual.replace(address, "127.0.0.1:0")
    file.write_text(f"models: {tiny_models}\n" + usual.replace("url: embedded", f"url: {redis.url}"))
    async with Stack(load_config(file), file, run_dir=tmp_path / "logs") as stack:
        yield file, stack.target


def page(shop: tuple[Path, str], *options: str) -> subprocess.CompletedProcess[str]:
    file, target = shop
    command = [sys.executable, "-m", "isochrone.cli", "page", str(file), "--target", target, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.processes
async def test_the_page_of_a_photo_and_a_visitor(shop: tuple[Path, str], tiny_models: Path, tmp_path: Path) -> None:
    """All its legs, their budgets, and what is wrong with a photo, a visitor or a file."""
    from isochrone_vision.samples import Samples

    photo = tmp_path / "photo.jpg"
    photo.write_bytes(Samples.load(tiny_models / "eye.fp32").photos[0])
    whole = page(shop, "--image", str(photo), "--user", "7", "--budget")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    for words in ("ranking", "labels", "embedding", "text", "first of", "dimensions", "batch wait"):
        assert words in whole.stdout

    visitor = tmp_path / "user.json"
    known = Shop.open(tiny_models / "ranker.fp32").samples.ids[5]
    visitor.write_text(json.dumps({"dense": [0.5] * 8, "categories": [1, 1, 1, 1], "recent_items": [int(known)]}))
    mine = page(shop, "--user", f"@{visitor}", "--prompt", "name: mug")
    assert mine.returncode == 0, mine.stdout + mine.stderr
    assert "labels" not in mine.stdout

    (tmp_path / "broken.jpg").write_bytes(b"no photo at all")
    broken = page(shop, "--image", str(tmp_path / "broken.jpg"))
    assert broken.returncode == 1, "a part of the page is missing"
    assert "labels missed: image" in broken.stdout
    assert "text missed" in broken.stdout
    for options, said in (
        (("--user", "1000000"), "--user 1000000: 0 to"),
        (("--user", "@nobody.json"), "nobody.json: No such file"),
        (("--image", str(tmp_path)), "Is a directory"),
    ):
        refused = page(shop, *options)
        assert (refused.returncode, said in refused.stderr) == (3, True), refused.stderr
        assert "Traceback" not in refused.stderr
