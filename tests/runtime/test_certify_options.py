import pytest

from emca.errors import UserError
from runtime.accuracy.verdict import Thresholds
from runtime.certify_options import Options, command_options, read

WORDS = ["a.onnx", "b.onnx", "--data=x:y"]


def parsed(*words):
    return read(command_options().parse_args([*WORDS, *words]))


def test_the_defaults_are_those_of_the_functions():
    assert parsed() == (Thresholds(), Options())


def test_every_option_arrives():
    thresholds, options = parsed(
        *("--max-drop=1.5", "--min-agreement=97", "--min-boundary=80", "--max-class-drop=3"),
        *("--min-batch=95", "--strict", "--boundary=5", "--batches=8, 2,2", "--limit=9"),
        *("--unlabelled", "--worst=0", "--resamples=300", "--seed=4", "--backend=b", "--threads=2"),
    )
    assert thresholds == Thresholds(1.5, 97, 80, 3, 95, strict=True)
    assert options == Options(5, (8, 2), 9, False, 0, 300, 4, "b", 2)


@pytest.mark.parametrize("text", ["", "0", "1,,2", "1,-2", "two", "1.5"])
def test_what_is_no_list_of_batches_is_refused(text):
    with pytest.raises(UserError, match="is no list of batch sizes; write it as 1,2,4"):
        parsed(f"--batches={text}")


def test_help_names_the_defaults(capsys):
    with pytest.raises(SystemExit):
        command_options().parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "points of mIoU it may lose (default 0.5)" in text
    assert "points of IoU that any class may lose (default off)" in text
