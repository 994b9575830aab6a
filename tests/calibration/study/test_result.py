"""What the tables say of a search that is made up."""

from types import SimpleNamespace

import pytest

from calibration.study.accuracy import Score
from calibration.study.choice import NOTHING, Choice
from calibration.study.result import Result, curve, document, report, verdict, why

LAYERS = {"a": ("x",), "b": ("y", "z"), "c": ("w",), "heads": ("h",)}
ALL = frozenset("abc")


def result(best, *, idle=frozenset(), max_drop=0.5, miou=(0.7, 0.699, 0.69), fp32_latency=12.0):
    """FP32 at 70 %; FP16, {"a"} and all in INT8 as given."""
    scores = {
        mix: Score(value, 0.99, [])
        for mix, value in zip((NOTHING, frozenset("a"), ALL), miou, strict=True)
    }
    choice = Choice(
        usual=ALL,
        saves={"a": 3.0, "b": 2.0, "c": -0.1},
        margin=0.2,
        idle=idle,
        scores=scores,
        latencies={NOTHING: 10.0, frozenset("a"): 7.0, ALL: 5.0},
        path=[ALL, frozenset("a"), NOTHING],
        best=best,
    )
    study = SimpleNamespace(
        mixes=SimpleNamespace(blocks=LAYERS),
        judge=SimpleNamespace(reference=Score(0.7, 1.0, [])),
    )
    clock = SimpleNamespace(what="ms on x", noise=0.01, worth=0.02)
    alone = {block: Score(0.698, 0.97, []) for block in "abc"}
    return Result(study, choice, alone, scores, max_drop, fp32_latency, clock)


def test_each_block_has_its_reason():
    found = result(frozenset("a"), idle=frozenset("c"))
    assert [why(found, block) for block in LAYERS] == [
        "saves 3.00 ms",
        "saves 2.00 ms but changes 3.00 % of the labels",
        "INT8 saves no time",
        "decide the labels",
    ]
    assert why(result(ALL), "c") == "saves time with others"


def test_the_verdict_names_gain_and_loss():
    assert verdict(result(frozenset("a"))) == (
        "1 of 3 blocks in INT8: 1.43 times as fast as FP16, has -0.10 points, allowed are -0.5"
    )
    assert verdict(result(NOTHING)).startswith("FP16 wins here: no INT8 mix within the drop saves")
    failed = verdict(result(None, miou=(0.68, 0.67, 0.66)))
    assert failed.startswith("nothing keeps within 0.5 points; the best found, with 0 of 3 blocks")
    assert "has -2.00 points" in failed


def test_a_noisy_machine_is_said():
    found = result(frozenset("a"))
    assert "times vary" not in report(found)
    found.clock.noise = 0.22
    assert "times vary by 22 % here" in report(found)


def test_tables_and_json_say_the_same():
    found = result(frozenset("a"), idle=frozenset("c"))
    text, plain = report(found), document(found)
    assert plain["chosen"] == ["a"]
    assert [row["format"] for row in plain["blocks"]] == ["int8", "fp16", "fp16", "fp16"]
    assert [version["name"] for version in plain["formats"]] == ["FP32", "FP16", "INT8", "chosen"]
    assert plain["formats"][3] == {"name": "chosen", "ms": 7.0, "miou": 0.699, "agreement": 0.99}
    for word in ("12.00", "0.700", "-0.10", "saves 3.00 ms", plain["verdict"]):
        assert word in text


@pytest.mark.parametrize(
    ("best", "name"), [(frozenset("a"), "chosen"), (ALL, "INT8"), (NOTHING, "FP16")]
)
def test_the_curve_names_what_was_chosen(best, name):
    found = result(best)
    assert found.name == name
    names = [point.name for point in curve(found)]
    assert sorted(names) == sorted(
        ["FP32", "FP16", "INT8", "chosen" if name == "chosen" else "1 blocks"]
    )


def test_without_an_fp32_time_the_curve_lacks_it():
    found = result(ALL, fp32_latency=None)
    assert "FP32" not in [point.name for point in curve(found)]
    assert document(found)["formats"][0]["ms"] is None
    assert "-" in report(found)
