"""The page of `runtime.report` as text: takes what files hold, reads and measures nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runtime import charts, report_bench, report_certificates, report_compare, report_studies
from runtime.page_html import (
    card,
    document,
    group,
    machine_facts,
    made_with,
    pair,
    section,
)
from runtime.report_bench import Gallery
from runtime.results.finding import Result, of_kind, section_of


@dataclass(frozen=True)
class _Part:
    """A part of the page: what links call it, its title, a sentence below, its boxes."""

    ident: str
    name: str
    lead: str
    text: str


def page(
    results: Sequence[Result], galleries: Mapping[Path, Gallery], *, title: str, command: str
) -> str:
    """The whole page.

    Args:
        results: one or more; see `runtime.results.finding.find`.
        galleries: the pictures of a benchmark, by its file.
        title: stands above the headline.
        command: the command line that makes the page.

    Raises:
        UserError: a file does not hold what its kind holds.
    """
    found = (
        *_benches(results, galleries),
        *_models(results),
        *_certificates(results),
        *_studies(results),
        *_trainings(results),
    )
    parts = [part for part in found if part.text]
    links = " ".join(f'<a href="#{p.ident}">{escape(p.name)}</a>' for p in parts)
    contents = f'<nav aria-label="Contents">{links}</nav>' if len(parts) > 1 else ""
    groups = [group(part.ident, part.name, part.lead, part.text) for part in parts]
    return document(title, [_header(results, title), contents, *groups, _origin(results, command)])


def _benches(results: Sequence[Result], galleries: Mapping[Path, Gallery]) -> Iterator[_Part]:
    traces = {result.name: result for result in of_kind(results, "times")}
    for result in of_kind(results, "bench"):
        trace = traces.pop(result.name, None)
        times = section_of(trace, report_bench.latencies) if trace else {}
        name, ident = _titled("Formats side by side", result), _ident("formats", result)
        lead = section_of(result, report_bench.lead)
        yield _Part(ident, name, lead, section_of(result, report_bench.formats, times))
        gallery = galleries.get(result.path, Gallery())
        if gallery.panels:
            text = report_bench.labels(result.content, gallery)
            yield _Part(_ident("labels", result), _titled("Labels", result), "", text)
    for trace in traces.values():
        text = section_of(trace, lambda c: report_bench.histograms(report_bench.latencies(c)))
        yield _Part(_ident("latency", trace), _titled("Latency", trace), "", text)


def _models(results: Sequence[Result]) -> Iterator[_Part]:
    for result in of_kind(results, "compare"):
        lead = section_of(result, report_compare.facts)
        text = section_of(result, report_compare.cards)
        yield _Part(_ident("models", result), _titled("Models side by side", result), lead, text)


def _certificates(results: Sequence[Result]) -> Iterator[_Part]:
    found = of_kind(results, "certificate")
    if found:
        names = report_certificates.names(found)
        rows = [
            section_of(one, report_certificates.row, name)
            for one, name in zip(found, names, strict=True)
        ]
        fold = len(found) > 1
        texts = [
            section_of(one, report_certificates.certificate, name, fold)
            for one, name in zip(found, names, strict=True)
        ]
        below = card("Measures of each", *texts) if fold else texts[0]
        text = (report_certificates.overview(rows) if fold else "") + below
        yield _Part("certificates", "Certificates", "", text)


def _studies(results: Sequence[Result]) -> Iterator[_Part]:
    for result in of_kind(results, "sensitivity"):
        lead = section_of(result, report_studies.sensitivity_headline) + "."
        name = _titled("Sensitivity", result)
        text = section_of(result, report_studies.sensitivity)
        yield _Part(_ident("sensitivity", result), name, lead, text)
    for result in of_kind(results, "search"):
        lead = section_of(result, report_studies.search_headline) + "."
        name = _titled("Search for the fastest mix", result)
        yield _Part(_ident("search", result), name, lead, section_of(result, report_studies.search))


def _trainings(results: Sequence[Result]) -> Iterator[_Part]:
    for result in of_kind(results, "training"):
        text = section_of(result, _training)
        yield _Part(_ident("training", result), _titled("Training", result), "", text)


def _training(log: Sequence[Mapping[str, Any]]) -> str:
    losses, scores = _curve(log, "loss"), _curve(log, "miou", 100)
    loss = charts.line(losses, x="iteration", y="loss") if losses else ""
    score = charts.line(scores, x="iteration", y="mIoU in %", dots=True) if scores else ""
    return pair(
        card("Training loss", loss) if loss else "",
        card("Validation mIoU", score) if score else "",
    )


def _curve(
    log: Sequence[Mapping[str, Any]], key: str, factor: float = 1
) -> list[tuple[float, float]]:
    """(step, value) of the records that have the key, thinned to what a plot can show."""
    points = [
        (float(record["step"]), factor * float(record[key]))
        for record in log
        if isinstance(record.get(key), int | float) and math.isfinite(record[key])
    ]
    return points[:: 1 + len(points) // 500]


def _header(results: Sequence[Result], title: str) -> str:
    """The result that says most, in one sentence, and below it what it stands on."""
    first = results[0]
    head, below = _HEADERS[first.kind]
    sentence = section_of(first, head)
    return (
        f'<header><p class="kicker">{escape(title)}</p><h1>{escape(sentence)}</h1>'
        f"{section_of(first, below)}</header>"
    )


def _of_bench(bench: Mapping[str, Any]) -> str:
    told = f'<p class="facts">{escape(report_bench.facts(bench))}</p>'
    return told + report_bench.warning(bench) + report_bench.figures(bench)


def _of_origin(content: Mapping[str, Any]) -> str:
    return f'<p class="facts">{escape(content["machine"]["cpu"])} · {content["date"][:10]}</p>'


_HEADERS: dict[str, tuple[Callable[[Any], str], Callable[[Any], str]]] = {
    "bench": (lambda bench: report_bench.headline(bench["rows"]), _of_bench),
    "times": (lambda trace: f"{len(trace)} queries were timed", lambda trace: ""),
    "compare": (report_compare.headline, _of_origin),
    "certificate": (report_certificates.headline, _of_origin),
    "sensitivity": (report_studies.sensitivity_headline, _of_origin),
    "search": (report_studies.search_headline, _of_origin),
    "training": (lambda log: f"Trained for {log[-1]['step']} iterations", lambda log: ""),
}


def _origin(results: Sequence[Result], command: str) -> str:
    """The commands of all results and the machine of the first that names one."""
    told = [result for result in results if isinstance(result.content, dict)]
    lines = [line for result in told for line in section_of(result, _commands)]
    facts = section_of(told[0], _facts) if told else {}
    return section("Made with", made_with("\n".join(dict.fromkeys([*lines, command])), facts))


def _commands(content: Mapping[str, Any]) -> list[str]:
    own = [file["command"] for file in content.get("files", {}).values()]
    return [*own, str(content["command"])]


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        **machine_facts(content["machine"], content.get("threads", 0)),
        **content["versions"],
    }
    if "trained_iterations" in content:
        found["trained for"] = f"{content['trained_iterations']} iterations"
        found["checkpoint"] = content["checkpoint_sha256"][:16]
    return found


def _ident(kind: str, result: Result) -> str:
    """A name for links that no other part has."""
    return f"{kind}-{quote(result.name)}" if result.name else kind


def _titled(name: str, result: Result) -> str:
    return f"{name}: {result.name}" if result.name else name
