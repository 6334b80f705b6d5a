"""What became of a request, in a sentence."""

from __future__ import annotations

from isochrone.blame import stages_to_objective
from isochrone.cli.record import Record
from isochrone.cli.waterfall import bars, count, fallback_in_words

_ON_ITS_WAY = {
    "admit": "until the router had planned it and sent it on",
    "queue": "waiting in its lane until a node was free to claim it",
    "batch wait": "waiting on its node until its batch began",
    "compute": "in the forward call of its batch",
    "link": "on the way of its reply to the router",
    "answer": "from its reply until the answer left the router",
}


def sentence(record: Record) -> str:
    """ "Late by 6.3 ms: queue took 9.1 ms, waiting in its lane until a node was free to claim it."."""
    over_ms = record.spent_ms - record.report.objective_us / 1e3
    match record.verdict:
        case "failed":
            return f"Failed after {ms(record.spent_ms)} with {record.error}{_because(record)}.{_refusal(record)}"
        case "fallback":
            late = f", late by {ms(over_ms)}" if over_ms > 0 else ""
            by = fallback_in_words(record.report.fallback)
            return f"Answered after {ms(record.spent_ms)}{late}, by a fallback: {by}."
        case "cancelled":
            return f"Its caller left after {ms(record.spent_ms)}{_where_it_was(record)}."
        case "missed" if over_ms > 0:
            planned = ", as it was planned" if record.is_planned_late else ""
            return f"Late by {ms(over_ms)}{planned}{_because(record)}."
        case "missed":  # a page whose legs stream is late where one of them is
            return f"Late{_because(record)}."
    if over_ms > 0:  # and such a page in time where all of them were
        return "In time, as each of its legs was."
    spare = f"{ms(-over_ms)} to spare"
    if not record.report.stage_us:
        return f"In time, with {spare}."
    spent = {bar.name: us for bar, us in zip(bars(record.report), stages_to_objective(record.report), strict=False)}
    most = max(spent, key=lambda name: spent[name])
    return f"In time, with {spare}; {most} took most, {ms(spent[most] / 1e3)}."


def given_up(record: Record) -> list[str]:
    """A line for each attempt that was given up for another; one that was hedged may yet be the one that answered."""
    lines = []
    for number, one in enumerate(record.tries, 1):
        spent_ms, node = one.get("ms"), one.get("node")
        after = f" after {ms(spent_ms)}" if isinstance(spent_ms, int | float) else ""
        where = f"on {node}" if node else "in its lane"
        won = ", and answered all the same" if record.report.won == number else ""
        lines.append(f"Attempt {number}, {where}, was given up{after}{won}: {one.get('why') or 'nobody says why'}.")
    return lines


def ms(value: float) -> str:
    return f"{value:.2f} ms" if value < 1 else f"{value:.1f} ms"


def _refusal(record: Record) -> str:
    """ " It would have taken 23.0 ms; there is room again in 8.0 ms."; empty where the planner refused nothing."""
    decision = record.report.decision
    if record.report.attempts or not decision.expected_us:
        return ""
    said = f" It would have taken {ms(decision.expected_us / 1e3)}"
    if decision.retry_after_us:
        said += f"; there is room again in {ms(decision.retry_after_us / 1e3)}"
    return f"{said}."


def _because(record: Record) -> str:
    if record.legs:
        wrong = [leg for leg in record.legs if leg.verdict == record.verdict] or [
            leg for leg in record.legs if leg.verdict in ("missed", "failed")
        ]
        if not wrong:
            return ""
        leg = max(wrong, key=lambda leg: leg.spent_ms)
        how = f"failed with {leg.error}" if leg.verdict == "failed" else f"took {ms(leg.spent_ms)}"
        return f": leg {leg.leg} {how}" + (f"; there, {_blamed(leg)}" if _blamed(leg) else "")
    blamed = _blamed(record)
    return f": {blamed}" if blamed else ""


def _blamed(record: Record) -> str:
    """ "queue took 9.1 ms, waiting in its lane until a node was free to claim it"; empty where none is to blame."""
    report = record.report
    for bar, spent_us in zip(bars(report), stages_to_objective(report), strict=False):
        if bar.name == record.blame:
            why = _ON_ITS_WAY.get(bar.name, "")
            if bar.name == "queue" and report.direct:
                why = "on its way over the link"
            elif bar.name == "compute" and report.batch.jobs:
                why += f" of {count(report.batch.jobs, 'request')}, {count(report.batch.units, 'unit')}"
            return f"{bar.name} took {ms(spent_us / 1e3)}" + (f", {why}" if why else "")
    return ""


def _where_it_was(record: Record) -> str:
    """The stage in which it ended."""
    reached = [bar.name for bar in bars(record.report) if bar.spent_us]
    return f", in {reached[-1]}" if reached else ""
