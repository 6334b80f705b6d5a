"""`python -m bench`: runs the cases, says what was measured while it goes, and leaves table, JSON and plot."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from bench import machine, report
from bench.cases import CASES
from bench.cores import Cores
from bench.plot import draw
from bench.result import CaseResult
from bench.runner import Runner
from isochrone.errors import IsochroneError

RESULTS = Path(__file__).parent / "results"


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the mesh against floors on this machine, in rounds that alternate between them.",
        epilog="A missed target is a result, not a failure; --strict makes it one. Leave the machine alone meanwhile.",
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--seconds", type=float, default=8.0, metavar="S", help="of each measurement (default 8)")
    parser.add_argument("--warmup", type=float, default=2.0, metavar="S", help="before each (default 2)")
    parser.add_argument("--quick", action="store_true", help="one short round: whether it runs, not how fast")
    parser.add_argument("--strict", action="store_true", help="exit code 1 where a target is missed")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="default bench/results/<date and time>")
    args = parser.parse_args(argv)
    unknown = [name for name in args.cases if name not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    if args.quick:
        args.rounds, args.seconds, args.warmup = 1, 2.0, 0.5
    if args.rounds < 1 or args.seconds <= 0 or args.warmup < 0:
        parser.error("--rounds should be at least 1, --seconds over 0, --warmup not under 0")
    return args


async def measured(args: argparse.Namespace, console: Console) -> list[CaseResult]:
    """Runs the cases one after the other. Raises IsochroneError or RuntimeError where one could not run."""
    results = []
    with tempfile.TemporaryDirectory(prefix="isochrone-bench-") as folder:
        for name in args.cases or CASES:
            console.rule(name)
            runner = Runner(
                rounds=args.rounds,
                seconds=args.seconds,
                warmup_s=args.warmup,
                cores=Cores.of_this_process(),
                folder=Path(folder),
                say=lambda line: console.print(line, highlight=False),
            )
            results.append(await CASES[name](runner))
    return results


def main(argv: Sequence[str] | None = None) -> int:
    args = parsed(argv)
    console = Console(width=None if sys.stdout.isatty() else 200)
    setup = machine.setup()
    for line in machine.in_lines(setup):
        console.print(line, style="dim", highlight=False)
    try:
        results = asyncio.run(measured(args, console))
    except (IsochroneError, RuntimeError) as error:
        console.print(f"[red]the benchmark could not run:[/] {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    out: Path = args.out or RESULTS / datetime.now().strftime("%Y-%m-%d-%H%M%S")
    out.mkdir(parents=True, exist_ok=True)
    report.write_json(out / "bench.json", results, setup, vars(args))
    paths = draw(results, out)
    report.show(results, machine.in_lines(setup), console)
    console.print(f"written: {', '.join(map(str, [out / 'bench.json', *paths]))}", highlight=False)
    missed = any(not verdict.met for result in results for verdict in result.verdicts)
    return 1 if missed and args.strict else 0


if __name__ == "__main__":
    sys.exit(main())
