import io
import pickle
import subprocess
import sys

from runtime.backends.engine_file import Profile
from runtime.build import CHILD
from runtime.engines.child import Channel
from runtime.engines.job import Failure, Job, Progress
from runtime.engines.options import BuildOptions


def messages(data):
    stream, found = io.BytesIO(data), []
    while stream.tell() < len(data):
        found.append(pickle.load(stream))
    return found


def test_steps_are_thinned_out_and_answers_are_not():
    stream = io.BytesIO()
    channel = Channel(stream)
    for step in range(1000):
        channel.tell(Progress("timing", step, 1000))
    channel.send(Failure("first"))
    channel.send(Failure("second"))
    first, *steps, one, two = messages(stream.getvalue())
    assert first == Progress("timing", 0, 1000)
    assert len(steps) < 100
    assert (one, two) == (Failure("first"), Failure("second"))


def test_what_the_user_has_to_mend_is_the_answer(toys):
    profile = Profile(*[(1, *toys.size, 3)] * 3)
    options = BuildOptions(backend="tensorrt-rtx", profiles=(profile,))
    job = Job(toys.folder / "gone.onnx", toys.folder / "plan", toys.folder / "m.engine", options)
    result = subprocess.run(
        [sys.executable, CHILD], input=pickle.dumps(job), capture_output=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    (answer,) = messages(result.stdout)
    assert isinstance(answer, Failure)
    assert "gone.onnx: cannot read the model" in answer.reason
    assert not (toys.folder / "plan").exists()
