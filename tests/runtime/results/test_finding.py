import json

import pytest
import results

from emca.errors import UserError
from runtime.results.finding import find, of_kind, read_log, section_of, unknown


def test_results_are_found_one_level_deep_in_the_order_of_kinds(tmp_path):
    results.write_all(tmp_path)
    below = tmp_path / "other"
    below.mkdir()
    (below / "bench.json").write_text(json.dumps(results.bench()))
    (below / "deep").mkdir()
    (below / "deep" / "bench.json").write_text("{")
    found = [(result.kind, result.name) for result in find(tmp_path)]
    assert found == [
        *(("bench", ""), ("bench", "other/"), ("compare", "")),
        *(("certificate", "fp16"), ("certificate", "int8"), ("sensitivity", "model")),
        *(("search", "model"), ("training", ""), ("times", "")),
    ]


def test_names_come_from_files_and_folders(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "x.bench.json").write_text(json.dumps(results.bench()))
    assert [result.name for result in find(tmp_path)] == ["a/x"]
    for path in (folder / "bench.json", tmp_path / "a.bench.json"):
        path.write_text(json.dumps(results.bench()))
    assert sorted(result.name for result in find(tmp_path)) == ["a", "a/", "a/x"]


def test_an_empty_folder_says_what_makes_results(tmp_path):
    with pytest.raises(UserError, match=r"holds no results; make some with .*runtime.bench"):
        find(tmp_path)
    with pytest.raises(UserError, match="gone is no folder"):
        find(tmp_path / "gone")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("bench.json", "{}", "was not written by runtime.bench"),
        ("bench.json", "[1]", "was not written by runtime.bench"),
        ("times.json", "{}", "was not written by runtime.bench"),
        ("m.certificate.json", "{", "is not JSON"),
        ("compare.json", b"\xff\xfe", "is no text"),
        ("m.sensitivity.json", '{"runs": 2}', "was not written by calibration.sensitivity"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, text, why):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=rf"{name} {why}"):
        find(tmp_path)


def test_what_does_not_hold_what_it_should_is_named(tmp_path):
    results.write_all(tmp_path)
    (bench,) = of_kind(find(tmp_path), "bench")
    assert section_of(bench, lambda content, more: content["data"] + more, "!") == "x:y!"
    with pytest.raises(UserError, match=r"bench.json is damaged \(KeyError: 'gone'\)"):
        section_of(bench, lambda content: content["gone"])


def test_other_json_files_are_unknown_but_for_those_beside_results(tmp_path):
    results.write_all(tmp_path)
    for name in ("notes.json", "m.ranges.json", "m.engine.json", "m.scores.json"):
        (tmp_path / name).write_text("{}")
    assert [path.name for path in unknown(tmp_path)] == ["notes.json"]


def test_log_skips_what_is_no_record(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_log(path) == []
    path.write_text('{"step": 1, "loss": 2.0}\n[]\n{"loss": 1}\n{"step": 2, "lo')
    assert read_log(path) == [{"step": 1, "loss": 2.0}]
