import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from engines import profile, write_engine

from emca.files import sha256
from runtime import serve_repository
from runtime.backends import ModelFile
from runtime.serve_repository import main, model_name, write_repository
from runtime.serving.config import Batching, Served

model_config = pytest.importorskip("tritonclient.grpc").model_config_pb2
text_format = pytest.importorskip("google.protobuf.text_format")


def read_config(folder):
    """config.pbtxt by the schema of the server; unknown fields are errors."""
    text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config.ModelConfig())


def test_an_open_batch_is_batched_and_warmed_up(toys):
    model, repo = toys.model(batch="N"), toys.folder / "repo"
    main([str(model), "-o", str(repo), "--preferred", "8,4", "--delay-us", "500"])
    config = read_config(repo / "model")
    assert (config.name, config.platform) == ("model", "onnxruntime_onnx")
    assert config.max_batch_size == 8
    assert list(config.input[0].dims) == [*toys.size, 3]
    assert list(config.output[0].dims) == [*toys.size]
    assert config.input[0].data_type == config.output[0].data_type == model_config.TYPE_UINT8
    assert (config.input[0].name, config.output[0].name) == ("image", "labels")
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert config.instance_group[0].kind == model_config.ModelInstanceGroup.KIND_CPU
    assert [warm.batch_size for warm in config.model_warmup] == [1, 8]
    assert all(list(w.inputs["image"].dims) == [*toys.size, 3] for w in config.model_warmup)
    assert not config.HasField("optimization")
    assert sha256(repo / "model" / "1" / "model.onnx") == sha256(model)
    assert (repo / "model" / "labels.txt").read_text().split() == list(toys.classes)


def test_a_fixed_batch_is_run_as_it_comes(toys):
    repo = toys.folder / "repo"
    options = ["--kind=gpu", "--instances=2", "--name=a.b-c"]
    main([str(toys.model(batch=2)), "-o", str(repo), *options])
    config = read_config(repo / "a.b-c")
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [2, *toys.size, 3]
    assert list(config.output[0].dims) == [2, *toys.size]
    assert not config.HasField("dynamic_batching")
    assert [warm.batch_size for warm in config.model_warmup] == [1]  # what the schema demands
    assert list(config.model_warmup[0].inputs["image"].dims) == [2, *toys.size, 3]
    assert config.instance_group[0].count == 2
    assert config.instance_group[0].kind == model_config.ModelInstanceGroup.KIND_GPU


def test_names_of_classes_survive_the_text_format(toys):
    odd = ('a "b"', "c\\d", "größe", "e\nf")
    repo = toys.folder / "repo"
    main([str(toys.model(card={"classes": odd})), "-o", str(repo)])
    found = read_config(repo / "model").parameters
    assert tuple(json.loads(found["classes"].string_value)) == odd
    assert json.loads(found["palette"].string_value) == [list(c) for c in toys.palette]


def test_int8_is_served_without_the_optimisation_that_breaks_it(toys):
    first = toys.model()
    main([str(toys.derived(first, "int8")), "-o", str(toys.folder / "repo")])
    assert read_config(toys.folder / "repo" / "model_int8").optimization.graph.level == 2


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """Files with the names of the plugin and its registrar."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name in ("libemca_plugin.so", "libemca_triton.so"):
        (folder / name).write_bytes(name.encode())
    monkeypatch.setenv("EMCA_PLUGIN", str(folder / "libemca_plugin.so"))
    return folder


def test_an_engine_brings_its_plugin_and_start_loads_it(toys, libraries, capsys):
    engine = write_engine(
        toys.folder,
        profiles=(profile(1, 1, 2), profile(1, 4, 16)),
        plugins={"PrototypeAttention": 9},
    )
    repo = toys.folder / "re po"
    main([str(engine.path), "-o", str(repo), "--max-batch=16"])
    said = capsys.readouterr().out
    config = read_config(repo / "model")
    assert config.platform == "tensorrt_plan"
    assert config.max_batch_size == 16
    assert list(config.instance_group[0].profile) == ["0", "1"]
    assert (repo / "model" / "1" / "model.plan").read_bytes() == b"no engine"
    assert "TensorRT 10.3.0 exactly" in said
    assert f"plugins={repo}/libemca_triton.so" in said
    # a model that needs nothing does not take it away again
    main([str(toys.model("other.onnx")), "-o", str(repo)])
    assert (repo / "libemca_plugin.so").read_bytes() == b"libemca_plugin.so"
    assert start_line(repo, "--log-verbose=1") == [
        f"--model-repository={repo}",
        f"--backend-config=tensorrt,plugins={repo}/libemca_triton.so",
        "--log-verbose=1",
    ]


def test_a_version_compatible_engine_is_allowed_to_be_one(toys):
    engine = write_engine(toys.folder, version_compatible=True)
    main([str(engine.path), "-o", str(toys.folder / "repo")])
    assert start_line(toys.folder / "repo")[1:] == [
        "--backend-config=tensorrt,version-compatible=true"
    ]


def start_line(repo, *options):
    """What start.sh calls tritonserver with."""
    fake = repo.parent / "bin"
    fake.mkdir(exist_ok=True)
    (fake / "tritonserver").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (fake / "tritonserver").chmod(0o755)
    assert (repo / "start.sh").stat().st_mode & stat.S_IXUSR
    environment = {**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"}
    command = [repo / "start.sh", *options]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def test_names():
    assert model_name(Path("out/model.int8.onnx")) == "model_int8"


def test_bad_input_is_one_line_and_leaves_the_repository_alone(toys, failing, monkeypatch):
    model, repo = toys.model(), toys.folder / "repo"
    main([str(model), "-o", str(repo)])
    before = {path: path.read_bytes() for path in repo.rglob("*") if path.is_file()}
    out = ("-o", repo)
    assert "repo/model exists; give another --name" in failing(main, model, *out)
    assert "gone.onnx: cannot read" in failing(main, toys.folder / "gone.onnx", *out)
    assert "'a/b' is no name for a model" in failing(main, model, *out, "--name=a/b")
    assert "is one name for 2 models" in failing(main, model, model, *out, "--name=a")
    scores = toys.model("scores.onnx", "scores")
    assert "gives scores, not labels" in failing(main, scores, *out)
    fixed = failing(main, model, *out, "--name=b", "--max-batch=4")
    assert "has a fixed batch of 1; export with --dynamic-batch" in fixed
    fixed = failing(main, model, *out, "--name=b", "--delay-us=5000")
    assert "--delay-us: " in fixed
    wide = toys.model("wide.onnx", batch="N")
    assert "--max-batch=0 is no whole number" in failing(main, wide, *out, "--max-batch=0")
    assert "--preferred=16 is not within 1 to 8" in failing(main, wide, *out, "--preferred=4,16")
    assert "--preferred=x is no list" in failing(main, wide, *out, "--preferred=x")
    assert "--preferred= is no list" in failing(main, wide, *out, "--preferred=")
    assert "--max-batch=9999 is no whole" in failing(main, wide, *out, "--max-batch=9999")
    assert "--instances=1000000 is no whole" in failing(main, wide, *out, "--instances=1000000")
    assert "--delay-us=-1 is no whole number" in failing(main, wide, *out, "--delay-us=-1")
    assert f"{model} is a file; give a folder" in failing(main, wide, "-o", model)
    copied = toys.folder / "more"
    copied.mkdir()
    (copied / "wide.onnx").write_bytes(wide.read_bytes())
    assert "two models would be called wide" in failing(main, wide, copied / "wide.onnx", *out)
    rtx = write_engine(toys.folder, name="rtx.engine", backend="tensorrt-rtx").path
    assert "is an engine for tensorrt-rtx, which Triton" in failing(main, rtx, *out)
    late = write_engine(toys.folder, name="late.engine", profiles=(profile(2, 2, 4),)).path
    assert "takes no batch below 2" in failing(main, late, *out)
    small = write_engine(toys.folder, name="small.engine").path
    assert "profiles of" in failing(main, small, *out, "--max-batch=8")
    assert "--kind=cpu" in failing(main, small, *out, "--kind=cpu")
    needing = write_engine(toys.folder, name="n.engine", plugins={"PrototypeAttention": 1}).path
    lonely = toys.folder / "libemca_plugin.so"
    lonely.touch()
    monkeypatch.setenv("EMCA_PLUGIN", str(lonely))
    assert "libemca_triton.so is missing" in failing(main, needing, *out)
    assert {path: path.read_bytes() for path in repo.rglob("*") if path.is_file()} == before


def test_models_of_which_one_cannot_be_copied_leave_nothing(toys, monkeypatch):
    def full(source, target):
        target.write_bytes(b"half")
        if "n" in target.parts:
            raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(serve_repository.shutil, "copyfile", full)
    repo = toys.folder / "repo"
    model = ModelFile.read(toys.model())
    served = [Served(name, model, Batching(0), 1, "cpu") for name in ("m", "n")]
    with pytest.raises(OSError, match="No space") as error:
        write_repository(repo, served)
    assert error.value.filename == str(repo / "n")
    assert list(repo.iterdir()) == []


def test_an_engine_takes_no_batches_in_a_gap_of_its_profiles(toys, failing):
    profiles = (profile(8, 8, 8), profile(1, 1, 2), profile(3, 3, 4))
    engine = write_engine(toys.folder, profiles=profiles).path
    repo = toys.folder / "repo"
    main([str(engine), "-o", str(repo)])
    assert read_config(repo / "model").max_batch_size == 4
    said = failing(main, engine, "-o", repo, "--name=b", "--max-batch=8")
    assert "take batches of 1 to 4" in said
