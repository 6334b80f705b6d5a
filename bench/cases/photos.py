"""Large photos beside rankings: whether what goes to one node delays what goes to another."""

from __future__ import annotations

from bench.cores import named
from bench.models import EYE, built
from bench.photos import classify_requests
from bench.ranker import encoded_requests, model_directory
from bench.result import CaseResult, Measurement, Verdict, beside, having, over
from bench.runner import Runner
from bench.servers import Serving, mesh

TITLE = "rankings of 64 rows at a steady rate beside photos of 4,000 x 3,000 pixels"
RANK, CLASSIFY = "isochrone.v1.Recsys/Rank", "isochrone.v1.Vision/Classify"
ROWS = 64
RATE = 100.0
PHOTOS_IN_FLIGHT = 2
PHOTOS_NICE = 10
"""Who sends photos sits elsewhere, and should take no time from the generator that measures."""
FREE, PINNED = "on all cores", "pinned"


async def run(runner: Runner) -> CaseResult:
    """Once with all of the mesh on all cores, once with only the vision node on the second. And once with the photos
    going to a mesh of their own: what that does, the cores alone have done."""
    everything, first, second = runner.cores.all, runner.cores.first, runner.cores.second
    built(EYE)
    rankings, photos = encoded_requests(model_directory(), rows=ROWS), classify_requests()
    places = {
        FREE: dict.fromkeys(("redis", "router", "node"), everything),
        PINNED: {"redis": first, "router": first, "node": first, "vision-0": second},
    }
    notes = [f"photos of {len(photos[0]) / 1e6:.1f} MB, {PHOTOS_IN_FLIGHT} in flight"]

    async def beside_photos(place: str, serving: Serving, to: Serving, what: str, round: int) -> None:
        ranking = runner.side(place, serving, round=round, method=RANK, payloads=rankings)
        sending = runner.side(f"photos, {place}", to, round=round, method=CLASSIFY, payloads=photos)
        lasting = str(runner.warmup_s + runner.seconds + 2.0)
        async with sending.background("--seconds", lasting, callers=PHOTOS_IN_FLIGHT, nice=PHOTOS_NICE) as load:
            ranked = await ranking.open(RATE, what=what, sessions=1, beside={"photos": load})
            sent = runner.note(Measurement(f"photos, {place}", what, round, await load.printed()))
        if (share := ranked.share_within(sent)) < 1:
            notes.append(f"round {round}: photos were over after {share:.0%} of the window beside them")

    for round in range(1, runner.rounds + 1):
        for place, cores in places.items():
            async with mesh("photos", cores) as serving, mesh("photos", cores) as apart:
                ranking = runner.side(place, serving, round=round, method=RANK, payloads=rankings)
                await ranking.open(RATE, what="alone", sessions=1)
                await beside_photos(place, serving, serving, "beside photos", round)
                await beside_photos(place, serving, apart, "beside photos of another mesh", round)
    made = runner.measurements

    def verdict(place: str) -> Verdict:
        alone, under = having(made, place, "alone"), having(made, place, "beside photos")
        control = having(made, place, "beside photos of another mesh")
        return Verdict(
            f"p99 of a ranking, {place}, beside photos over alone",
            "≤",
            2.0,
            "ms",
            over(under, alone, "p99_ms", minus=True),
            f"{beside(under, alone, 'p99_ms', 'ms')}; photos of another mesh on the same cores add "
            f"{over(control, alone, 'p99_ms', minus=True)} ms",
        )

    return CaseResult(
        name="photos",
        title=TITLE,
        pinning=f"{FREE}: mesh on {named(everything)}; {PINNED}: router, Redis and recsys on {named(first)}, vision on "
        f"{named(second)}; load on {named(second)}",
        verdicts=[verdict(FREE), verdict(PINNED)],
        measurements=made,
        notes=notes,
    )
