"""The examples do what they say, run as their README has it, against a mesh of all three services."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson

from harness import Mesh
from isochrone_recsys.samples import Samples

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]

EXAMPLES = Path(__file__).parents[2] / "examples"
NOBODY = "127.0.0.1:1"


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


async def run(*command: str, cwd: Path | None = None) -> Ran:
    child = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    out, err = await asyncio.wait_for(child.communicate(), 40)
    assert child.returncode is not None
    return Ran(child.returncode, out.decode(), err.decode())


async def python(name: str, *arguments: str) -> Ran:
    return await run(sys.executable, str(EXAMPLES / "python" / name), *arguments)


@pytest.fixture(scope="module")
def visit(tiny_ranker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What examples/rank.json is for the shop's ranker, for the tiny one."""
    request = Samples.load(tiny_ranker).request_of(3, rows=20, top_k=5)
    path = tmp_path_factory.mktemp("visit") / "rank.json"
    path.write_text(MessageToJson(request, preserving_proto_field_name=True))
    return path


async def test_rank(shop: Mesh, visit: Path) -> None:
    """The best five of the candidates, and where the time went."""
    ran = await python("rank.py", "--target", shop.router.address, "--request", str(visit), "--timeout-ms", "5000")
    assert (ran.code, ran.err) == (0, "")
    candidates = json.loads(visit.read_text())["item_ids"]
    *stages, shown = ran.out.splitlines()
    assert shown.startswith("show ")
    best = [int(id) for id in shown.split()[1:]]
    assert len(best) == 5
    assert set(best) < set(candidates)
    assert [line.split()[0] for line in stages[1:]] == ["admit", "queue", "batch_wait", "compute", "link", "answer"]


async def test_rank_without_an_answer(shop: Mesh, visit: Path) -> None:
    """Too late, or with nobody there, the page is shown as it was; a wrong request is told what is wrong with it."""
    candidates = "show " + " ".join(map(str, json.loads(visit.read_text())["item_ids"]))
    late, nobody, wrong = await asyncio.gather(
        python("rank.py", "--target", shop.router.address, "--request", str(visit), "--timeout-ms", "0.01"),
        python("rank.py", "--target", NOBODY, "--request", str(visit)),
        python("rank.py", "--target", shop.router.address),  # of another shop's items
    )
    assert (late.code, late.out.strip()) == (nobody.code, nobody.out.strip()) == (0, candidates)
    assert "too late" in late.err
    assert "not now: CONNECTION_LOST" in nobody.err or "too late" in nobody.err
    assert (wrong.code, wrong.out) == (1, "")
    assert re.match(r"(user\.recent_items|item_ids)\[\d+\]: ", wrong.err)


@pytest.mark.parametrize("streamed", [False, True])
async def test_page(shop: Mesh, visit: Path, streamed: bool) -> None:
    """All three legs; the text is about what is on the photo, whatever the tiny model sees there."""
    ran = await python(
        "page.py", "--target", shop.router.address, "--request", str(visit), *(["--stream"] if streamed else [])
    )
    assert (ran.code, ran.err) == (0, "")
    assert re.search(r"^ranking: \[\d+(, \d+){4}\] \(", ran.out, re.MULTILINE)
    assert re.search(r"^labels: \w[\w-]*(, \w[\w-]*){2} \(", ran.out, re.MULTILINE)
    text = r"^(?P<words>.+)\ntext: done \(" if streamed else r"^text: (?P<words>.+) \(ok, "
    assert re.search(text, ran.out, re.MULTILINE)


async def test_page_without_its_legs(shop: Mesh, visit: Path, tmp_path: Path) -> None:
    """Without labels there is no text about them, and the fallback is shown; without the ranking no page."""
    (tmp_path / "no.jpg").write_bytes(b"no photo")
    at = ("--target", shop.router.address)
    dark, unranked = await asyncio.gather(
        python("page.py", *at, "--request", str(visit), "--photo", str(tmp_path / "no.jpg")),
        python("page.py", *at),
    )
    assert (dark.code, dark.err) == (0, "")
    assert "labels: none, image: not an image" in dark.out
    assert "text: See it for yourself. (fallback, never begun)" in dark.out
    assert (unranked.code, unranked.out) == (1, "")
    assert unranked.err.startswith("INVALID_REQUEST: leg 'ranking': ")


async def test_write(shop: Mesh) -> None:
    """Word by word, to an end; what is refused is said in a line."""
    at = ("--target", shop.router.address)
    ran, refused = await asyncio.gather(python("write.py", *at), python("write.py", *at, "--prompt", ""))
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r".+\nfirst words after \d+ ms, all \d+ chunks after \d+ ms\n", ran.out, re.DOTALL)
    assert (refused.code, refused.err.strip()) == (
        1,
        "INVALID_REQUEST: prompt: empty; there must be at least one character",
    )


async def test_sync(shop: Mesh, visit: Path) -> None:
    """An answer for each thread."""
    ran = await python("sync.py", "--target", shop.router.address, "--request", str(visit), "--timeout-ms", "10000")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()][:8] == ["best"] * 4 + ["photo"] * 4
    assert "\ntext " in ran.out


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the Node.js examples, with what they need installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node.js and npm")
    here = EXAMPLES / "node"
    if (here / "node_modules").is_dir():
        return here
    copy = tmp_path_factory.mktemp("examples")  # with its surroundings: it reads the protos
    shutil.copytree(EXAMPLES, copy / "examples")
    shutil.copytree(EXAMPLES.parent / "protos", copy / "protos")
    install = ["npm", "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(install, cwd=copy / "examples/node", capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip("needs `npm install` in examples/node: its packages aren't in npm's cache")
    return copy / "examples/node"


async def test_node_ranks(shop: Mesh, node: Path, visit: Path) -> None:
    """Ranking and labels with their budgets; late or wrong, the status and the mesh's own word for it."""
    at = ("--target", shop.router.address)
    right, wrong = await asyncio.gather(
        run("node", "rank.js", *at, "--request", str(visit), "--timeoutMs", "5000", cwd=node),
        run("node", "rank.js", *at, "--timeoutMs", "5000", cwd=node),  # of another shop's items
    )
    assert (right.code, right.err) == (0, "")
    assert re.search(r"^ranking \d+( \d+){4} \([\d.]+ of 1000 ms, .*, ranker.fp32@cpu on recsys-0\)$", right.out, re.M)
    assert re.search(r"^photo \w[\w-]*(, \w[\w-]*){2} \(.*, eye.fp32@cpu on vision-0\)$", right.out, re.M)
    assert (wrong.code, wrong.err) == (1, "")
    assert "ranking none: INVALID_ARGUMENT INVALID_REQUEST " in wrong.out
    late = await run("node", "rank.js", *at, "--request", str(visit), "--timeoutMs", "0", cwd=node)
    assert (late.code, late.err) == (0, "")
    assert "ranking none: DEADLINE_EXCEEDED" in late.out


async def test_node_writes(shop: Mesh, node: Path) -> None:
    """A server stream, to its end, and its budget; a refusal is said in a line."""
    at = ("--target", shop.router.address)
    ran, refused = await asyncio.gather(
        run("node", "write.js", *at, cwd=node), run("node", "write.js", *at, "--prompt", "", cwd=node)
    )
    assert (ran.code, ran.err) == (0, "")
    assert re.search(r"\nfirst words after [\d.]+ ms, all \d+ chunks after [\d.]+ ms\n$", ran.out)
    assert refused.code == 1
    assert "INVALID_ARGUMENT INVALID_REQUEST prompt: empty" in refused.out
