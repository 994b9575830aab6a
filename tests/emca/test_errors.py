from emca.errors import nearest


def test_nearest_names_the_closest_option_whatever_the_case() -> None:
    assert nearest("Iteratons", ["iterations", "duration"]) == ' (did you mean "iterations"?)'
    assert nearest("warmup", ["iterations", "warmUp"]) == ' (did you mean "warmUp"?)'


def test_nearest_is_silent_when_nothing_is_close() -> None:
    assert nearest("xyz", ["iterations", "duration"]) == ""
    assert nearest("xyz", []) == ""
