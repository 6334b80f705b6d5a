"""The console of a real mesh: what its page shows is what the router counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from harness import Mesh, send, start_mesh, until
from isochrone.ports import a_free_one
from isochrone.testing.models import ECHO, SLEEP

from .conftest import OpenPage

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    """A mesh whose Sleep takes longer than it should, and whose Echo doesn't."""
    sla = {"deadline_ms": 5000, "target": 0.99}
    mesh = await start_mesh(
        tmp_path_factory.mktemp("console"),
        nodes=1,
        router={"listen": a_free_one(), "admin": a_free_one()},
        options={"sleep_ms": 20},
        instead={
            "routes": {
                ECHO: sla | {"objective_ms": 1000, "lanes": ["echo@cpu"]},
                SLEEP: sla | {"objective_ms": 10, "lanes": ["sleep@cpu"]},
            }
        },
    )
    yield mesh
    await mesh.close()


async def ask(mesh: Mesh, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(f"http://{mesh.router.admin}{path}") as answer:
        return await answer.json() if answer.status == 200 else None


async def a_few_requests(mesh: Mesh) -> None:
    client = mesh.client()
    for _ in range(5):
        assert (await send(client)).outcome == "answered"
        await client.call(ECHO, b"")
    await mesh.at_rest()


async def test_the_page_shows_what_console_json_says(running: Mesh, open_page: OpenPage) -> None:
    """Attainment, requests and misses of each route, the stage to blame, lanes and nodes."""
    await a_few_requests(running)
    told = await until(lambda: ask(running, "/console.json"), lambda told: told["routes"][1]["window"]["requests"] > 0)
    page = await open_page(f"http://{running.router.admin}/")
    for route in told["routes"][:2]:
        name, window = route["route"].rpartition(".")[2], route["window"]
        row = page.get_by_role("row", name=name).first
        text = " ".join((await row.inner_text()).split())
        assert f"{window['requests'] - window['met']} of {window['requests']}" in text
        assert ("100 % , on target" if window["met"] == window["requests"] else "0.0 % , below target") in text
        panel = page.get_by_role("article", name=name)
        means = panel.get_by_role("table", name="mean time by stage").locator("tbody tr").first
        shown = [float(cell) for cell in await means.locator("td").all_inner_texts()]
        assert shown == pytest.approx(list(window["stages_ms"].values()), abs=0.06, rel=0.01)
        blamed = await panel.locator(".stages tbody tr").nth(1).locator("td").all_inner_texts()
        assert [int(cell.replace("\N{EN DASH}", "0")) for cell in blamed] == list(window["blamed"].values())
        (lane,) = window["decisions"]["lanes"]
        assert lane["requests"] == window["requests"]
        assert sum(lane["why"].values()) == lane["requests"]
        way = " ".join((await panel.locator(".ways tbody tr").inner_text()).split())
        assert way.startswith(f"{lane['lane']} ")
        assert "→" in way
    assert sum(told["routes"][1]["window"]["blamed"].values()) >= 5
    assert await page.get_by_role("table", name="Lanes").get_by_role("rowheader").all_inner_texts() == [
        lane["lane"] for lane in told["lanes"]
    ]
    node = page.get_by_role("table", name="Nodes").locator("tbody tr")
    assert "linked" in await node.inner_text()
    assert "sleep" in await node.inner_text()


async def test_a_real_miss_opens_into_its_waterfall(running: Mesh, open_page: OpenPage) -> None:
    """By a click; one stage is to blame, and they add up."""
    await a_few_requests(running)
    page = await open_page(f"http://{running.router.admin}/")
    await page.get_by_role("button", name="Toy/Sleep missed").first.click()
    dialog = page.get_by_role("dialog", name="Toy/Sleep: missed")
    await dialog.wait_for()
    rows = dialog.locator(".waterfall tbody tr")
    assert await rows.count() == 6
    assert await rows.filter(has_text="to blame").count() == 1
    took = [float((await row.locator("td.n").first.inner_text()).split()[0]) for row in await rows.all()]
    total = float((await dialog.get_by_role("heading").first.inner_text()).split(", ")[1].split()[0])
    assert sum(took) == pytest.approx(total, abs=0.2)
    await page.keyboard.press("Escape")
    await dialog.wait_for(state="hidden")


async def test_a_router_that_starts_again_is_shown_again(running: Mesh, open_page: OpenPage) -> None:
    """By a page that was open all the time: it says that nobody answers, then shows the new one's figures."""
    page = await open_page(f"http://{running.router.admin}/")
    await page.locator("#state", has_text="Live").wait_for()
    running.router.stopping = True
    running.router.kill()
    await running.router.wait()
    await page.locator("#state", has_text="No answer since").wait_for()
    await running.router.start(timeout_s=30)
    await page.locator("#state", has_text="Live").wait_for()
    assert "0 of 0" in await page.get_by_role("row", name="Toy/Echo").first.inner_text()
    await a_few_requests(running)
    await page.get_by_role("row", name="Toy/Sleep").first.get_by_text("5 of 5").wait_for()
