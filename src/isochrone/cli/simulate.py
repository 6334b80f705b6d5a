"""`isochrone simulate`: the mesh's planner and batch policy on a virtual clock, beside what others do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isochrone.cli.screen import err, examples, wide
from isochrone.errors import ConfigError

EPILOG = (
    examples(
        ("bursts, and the highest rate with 99 % in time", "isochrone simulate examples/scenarios/bursty.yaml"),
        ("five runs, medians with the lowest and highest", "isochrone simulate overload.yaml --runs 5"),
        ("a picture beside the table", "isochrone simulate day.yaml --plot day.png"),
        ("another load", "isochrone simulate slow-node.yaml --load 0.9"),
        ("for a script", "isochrone simulate thousand.yaml --json | jq '.rows[].runs[0].in_time'"),
    )
    + "\n\n[bold]Exit code[/]  0 simulated · 2 the scenario can't be used: each problem with file, line and key"
)


def simulate(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.yaml", help="Nodes, load, and what to compare.")],
    runs: Annotated[int, typer.Option(min=1, max=1000, help="With the seeds that follow the scenario's.")] = 1,
    seed: Annotated[int | None, typer.Option(help="In place of the scenario's; same seed, same result.")] = None,
    load: Annotated[
        float | None, typer.Option(min=0.001, max=100, help="As a multiple of capacity; no sweep, no search.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="A PNG or SVG to draw as well.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, every run.")] = False,
) -> None:
    """Simulate a mesh under load: what is answered in time, what is missed and why, and what it costs.

    The planner and the batch policy are the real ones, told only what real ones are told. Beside them: batches by size
    or timer (Triton, Ray Serve), by AIMD (Clipper), one by one; placed at random, in turn, on the least loaded node.
    """
    import gc
    import json

    from isochrone.simulator.comparison import compare
    from isochrone.simulator.scenario import load_scenario

    if plot is not None:
        _refuse_plot(plot)
    loaded = load_scenario(scenario)
    if load is not None:
        if loaded.arrivals.kind == "recorded":
            raise typer.BadParameter("recorded arrivals have the rate that they have", param_hint="--load")
        changed = {"sweep": None, "search": None}
        loaded = loaded.at_rate(load * loaded.capacity_per_s).model_copy(update=changed)
    if seed is not None:
        loaded = loaded.with_seed(seed)
    gc.freeze()  # a simulation makes no cycles to speak of: looking for them would be a sixth of its time
    gc.set_threshold(200_000, 50, 100)
    with err.status("") as status:
        comparison = compare(loaded, runs=runs, say=lambda line: status.update(f"[dim]{line}[/]"))
    if plot is not None:
        from isochrone.simulator.plot import draw

        draw(comparison, plot)
    if as_json:
        print(json.dumps(_without_nan(comparison.as_json()), indent=2))
        return
    from isochrone.cli.simulate_view import view

    wide().print(view(comparison))
    if plot is not None:
        err.print(f"drawn: {plot}", soft_wrap=True)


def _refuse_plot(path: Path) -> None:
    """Before an hour is simulated for nothing. Raises BadParameter or ConfigError."""
    from importlib.util import find_spec

    if path.suffix not in (".png", ".svg"):
        raise typer.BadParameter(f"{path} should end in .png or .svg", param_hint="--plot")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{path}: there is no such folder", param_hint="--plot")
    if find_spec("matplotlib") is None:
        raise ConfigError("--plot takes matplotlib: pip install 'isochrone[bench]'")


def _without_nan(value: object) -> object:
    """JSON has no word for what is not a number: null."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return value
