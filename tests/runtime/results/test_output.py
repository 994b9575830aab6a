import json
import math

import pytest

from runtime.results.output import json_output, origin


def test_writes_when_all_went_well(tmp_path):
    path = tmp_path / "new" / "result.json"
    with json_output(path) as write:
        write({"value": 1.5, "name": "Δ"})
        assert not path.exists()
    assert json.loads(path.read_text()) == {"value": 1.5, "name": "Δ"}


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail():
        with json_output(path) as write:
            write({"value": math.nan})

    with pytest.raises(ValueError, match="not JSON compliant"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_target_is_claimed_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), json_output(tmp_path / "file" / "x.json"):
        pytest.fail("entered")


def test_without_a_path_nothing_is_written(tmp_path):
    with json_output(None) as write:
        write({"value": 1})
    assert list(tmp_path.iterdir()) == []


def test_origin_says_when_where_and_how():
    assert origin("python -m x").keys() == {"date", "command", "machine", "versions"}
