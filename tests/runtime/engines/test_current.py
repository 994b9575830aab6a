import dataclasses

import pytest

from calibration.fp16 import cast_file
from runtime.backends.base import ModelFile
from runtime.backends.cuda.memory import gpu_name
from runtime.backends.engine_file import EngineFile, Profile
from runtime.bench import main
from runtime.build import build
from runtime.engines.current import is_current
from runtime.engines.options import BuildOptions
from runtime.results.output import origin

RTX = "--backend=tensorrt-rtx"
ONLY = ("--buildOnly", RTX, "--no-plugin")


@pytest.fixture(autouse=True)
def _rtx():
    pytest.importorskip("tensorrt_rtx")


def test_build_only_makes_the_files_and_the_engines(toys, capsys):
    model = toys.model()
    main([f"--onnx={model}", "--fp16", "--int8", f"--calibData={toys.data()}", *ONLY])
    text = capsys.readouterr().out
    assert "No engine of model.onnx" in text
    for precision in ("fp16", "int8"):
        path = model.with_name(f"model.{precision}.rtx.engine")
        assert f"=== Engine: {path} ===" in text
        assert EngineFile.read(path).card.precision == precision
    assert text.count("kind of layer") == 2
    assert not model.with_name("model.rtx.engine").exists()
    assert "Performance" not in text

    main([f"--onnx={model}", "--fp16", "--int8", f"--calibData={toys.data()}", *ONLY])
    text = capsys.readouterr().out
    assert text.count("is up to date.") == 2
    assert "=== Engine" not in text

    main([f"--onnx={model}", "--fp16", "--sm=86", *ONLY])
    assert "model.fp16.rtx.engine ===" in capsys.readouterr().out


def test_fp32_alone_is_built_where_nothing_else_is_asked(toys, capsys):
    model = toys.model()
    main([f"--onnx={model}", "--sm=86", *ONLY])
    assert EngineFile.read(model.with_name("model.rtx.engine")).card.precision == "fp32"
    assert "No engine of" not in capsys.readouterr().out


def test_the_engine_that_is_asked_for_goes_where_it_shall(toys, capsys, failing):
    model, target = toys.model(batch="N"), toys.folder / "own.engine"
    words = [f"--onnx={model}", "--fp16", f"--saveEngine={target}", *ONLY]
    main([*words, "--shapes=image:3x48x64x3"])
    engine = EngineFile.read(target)
    assert engine.card.precision == "fp16"
    assert engine.profiles == (Profile(*[(3, *toys.size, 3)] * 3),)
    assert not model.with_name("model.fp16.rtx.engine").exists()
    before = target.read_bytes()
    assert "write --shapes=image:Nx48x64x3" in failing(main, *words, "--shapes=image:3")
    assert target.read_bytes() == before


def test_what_makes_an_engine_outdated(toys, monkeypatch):
    source = toys.model()
    path = source.with_suffix(".fp16.onnx")
    cast_file(source, path)
    file = ModelFile.read(path)
    profile = Profile(*[(1, *toys.size, 3)] * 3)
    options = BuildOptions(backend="tensorrt-rtx", profiles=(profile,), plugins=())
    target = path.with_suffix(".rtx.engine")
    engine, _ = build(path, target, options, command="test")

    def current(*, file=file, version=engine.version, keep_anyway=False, **changes):
        told = dataclasses.replace(options, **changes)
        return is_current(target, file, told, version, keep_anyway=keep_anyway)

    assert current()
    assert not current(version="1.0")
    assert not current(keep_anyway=True)
    assert not current(compute_capability="8.6")
    assert not current(workspace=1 << 30)
    assert not current(tf32=False)
    wide = Profile(profile.minimum, profile.optimum, (2, *toys.size, 3))
    assert not current(profiles=(wide,))
    cast_file(toys.model(noise=1), path)
    assert not current(file=ModelFile.read(path))

    # By default PrototypeAttention is a plugin where there is a library.
    default = dataclasses.replace(engine, settings={**engine.settings, "plugins": None})
    default.write(origin("test"))
    cast_file(toys.model(), path)
    for library, expected in ((None, True), ("libemca_plugin.so", False)):
        monkeypatch.setattr("plugins.find", lambda library=library: library)
        assert current(file=ModelFile.read(path), plugins=None) is expected
    target.write_bytes(b"replaced")
    assert not current()
    target.unlink()
    assert not current()


def test_an_engine_is_measured_on_a_gpu_alone(toys, failing):
    if gpu_name():
        pytest.skip("there is a GPU")
    source = toys.model()
    cast_file(source, source.with_suffix(".fp16.onnx"))
    main([f"--onnx={source}", "--fp16", *ONLY])
    engine = source.with_suffix(".fp16.rtx.engine")
    error = failing(main, f"--onnx={engine}")
    assert "no NVIDIA driver is loaded" in error or "no package for CUDA" in error
    error = failing(main, f"--onnx={engine}", "--fp16")
    assert "is an engine of one format; leave --fp16 and --int8 out" in error


def test_mistakes(toys, failing):
    model = toys.model()
    for words in (["--buildOnly"], ["--buildOnly", "--backend=openvino"]):
        error = failing(main, f"--onnx={model}", *words)
        assert "add --backend=tensorrt or --backend=tensorrt-rtx" in error
    assert "--int8 needs images" in failing(main, f"--onnx={model}", "--int8", *ONLY)
    assert "write workspace:SIZE" in failing(
        main, f"--onnx={model}", "--fp16", "--memPoolSize=1024", *ONLY
    )
    assert not model.with_name("model.fp16.onnx").exists()  # seen before anything is made
    table = "--exportTable=table.json"
    assert "measures nothing" in failing(main, f"--onnx={model}", "--fp16", table, *ONLY)
    error = failing(main, f"--onnx={model}", "--maxShapes=image:4x48x64x3")
    assert "--maxShapes is for building engines; leave it out" in error
    assert "is an engine; leave --buildOnly out" in failing(main, "--onnx=a.engine", *ONLY)


def test_without_a_gpu_nothing_is_made_to_measure(toys, failing):
    if gpu_name():
        pytest.skip("there is a GPU")
    model = toys.model()
    error = failing(main, f"--onnx={model}", "--fp16", RTX)
    assert "no NVIDIA driver is loaded" in error or "no package for CUDA" in error
    assert not model.with_name("model.fp16.onnx").exists()
