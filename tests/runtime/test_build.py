import json
import os
import re
import signal
from pathlib import Path

import onnx
import pytest
import tensorrt_plugin
from onnx import helper

from calibration.fp16 import cast_file
from calibration.int8 import quantize_file
from plugins import OP_TYPE
from runtime import build as build_module
from runtime.backends.engine_file import EngineFile, json_path
from runtime.build import default_target, main

RTX = "--backend=tensorrt-rtx"


@pytest.fixture
def half(toys):
    """An FP16 file; open batch."""
    pytest.importorskip("tensorrt_rtx")
    source = toys.model(batch="N")
    target = source.with_suffix(".fp16.onnx")
    cast_file(source, target)
    return target


@pytest.fixture
def with_plugin(monkeypatch):
    """The plugin's library as its sources are."""
    monkeypatch.setenv("EMCA_PLUGIN", str(tensorrt_plugin.library()))


def child(monkeypatch, tmp_path, source):
    """Let the builder's process be this script."""
    path = tmp_path / "child.py"
    path.write_text(f"import os, pickle, signal, sys\n{source}\n")
    monkeypatch.setattr(build_module, "CHILD", path)


def test_an_engine_for_a_t4(half, capsys):
    main([str(half), RTX, "--no-plugin", "--maxShapes=image:4x48x64x3"])
    text = capsys.readouterr().out
    path = half.with_suffix(".rtx.engine")
    assert f"=== Engine: {path} ===" in text
    assert "for compute capability 7.5," in text
    assert re.search(r"^convolution +FP16 +0 +1 +0 +0 +0$", text, re.M)
    assert re.search(r"^all +\d+ +0 +[1-9]", text, re.M)
    assert "Labels not compared with onnxruntime" in text

    engine = EngineFile.read(path)
    assert (engine.backend, engine.device) == ("tensorrt-rtx", "")
    assert engine.compute_capabilities == ("7.5",)
    assert engine.card.precision == "fp16"
    assert engine.input_shape == (4, 48, 64, 3)
    assert engine.plugins == {}
    assert engine.onnx.resolve() == half.resolve()
    assert any(
        "Conv" in node or "colours" in node for layer in engine.layers for node in layer.nodes
    )
    content = json.loads(json_path(path).read_text())
    assert content["command"].startswith("python -m runtime.build ")
    assert content["parity"]["run"] is False
    assert content["versions"]["tensorrt-rtx"] == engine.version
    assert path.stat().st_size > 10_000


def test_where_the_gpu_is_the_labels_are_compared(half, monkeypatch, tmp_path, capsys):
    child(
        monkeypatch,
        tmp_path,
        f"""
sys.path[0] = {str(tensorrt_plugin.ROOT)!r}
from runtime.engines import builder as build_engine
from runtime.engines import child as build_child
from runtime.backends.base import ModelFile
from runtime.backends.onnx_runtime import OnnxRuntimeBackend
onnxruntime = OnnxRuntimeBackend(ModelFile.read({str(half)!r}))  # in place of the GPU
build_engine.TensorRtBackend = lambda engine, libraries: onnxruntime
build_engine.target_device = lambda options: ("Tesla T4", "7.5")
build_child.main()
""",
    )
    main(
        [
            str(half),
            RTX,
            "--no-plugin",
            "--minShapes=image:1x48x64x3",
            "--maxShapes=image:2x48x64x3",
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"tensorrt-rtx [\d.]+ for Tesla T4, [\d.]+ MB, built in ", lines[1])
    assert lines[-1] == "Labels as onnxruntime's: 100.00% at batch 1, 100.00% at batch 2."
    engine = EngineFile.read(half.with_suffix(".rtx.engine"))
    assert engine.device == "Tesla T4"
    parity = json.loads(json_path(engine.path).read_text())["parity"]
    assert [corner["onnxruntime"] for corner in parity["corners"]] == [1.0, 1.0]


def test_several_batch_sizes_and_another_target(half):
    out = half.with_name("out.plan")
    shapes = ("--minShapes=image:1x48x64x3", "--maxShapes=image:8x48x64x3")
    main([str(half), f"--saveEngine={out}", RTX, "--no-plugin", "--sm=86", *shapes])
    engine = EngineFile.read(out)
    assert engine.input_shape == (None, 48, 64, 3)
    assert engine.compute_capabilities == ("8.6",)


def test_the_operator_is_a_plugin(half, with_plugin, capsys):
    main([str(half), RTX])
    assert "plugin layers: 1 x PrototypeAttention" in capsys.readouterr().out
    engine = EngineFile.read(default_target(half, "tensorrt-rtx"))
    assert engine.plugins == {OP_TYPE: 1}
    assert any(layer.kind == "custom_layer" for layer in engine.layers)
    # The function's nodes are not in it.
    assert not any("similarity" in node for layer in engine.layers for node in layer.nodes)


def test_the_library_may_be_named(half, monkeypatch, capsys):
    library = tensorrt_plugin.library()
    monkeypatch.setattr("plugins.library._folders", lambda: iter(()))
    monkeypatch.delenv("EMCA_PLUGIN", raising=False)
    main([str(half), RTX, f"--dynamicPlugins={library}", "-o", str(half.with_suffix(".engine"))])
    assert f"plugin layers: 1 x {OP_TYPE}" in capsys.readouterr().out
    engine = EngineFile.read(half.with_suffix(".engine"))
    assert engine.plugins == {OP_TYPE: 1}
    assert len(engine.settings["libraries"]) == 1


def test_the_whole_log_on_request(half, capfd):
    main([str(half), RTX, "--no-plugin", "--verbose"])
    loud = capfd.readouterr().err
    main([str(half), RTX, "--no-plugin"])
    assert len(loud.splitlines()) > 20
    assert capfd.readouterr().err == ""


def test_the_graph_for_other_builders(half, tmp_path, with_plugin, capsys):
    target = tmp_path / "graph.onnx"
    main([str(half), "--graphOnly", str(target)])
    assert "trtexec --stronglyTyped --dynamicPlugins=libemca_plugin.so" in capsys.readouterr().out
    assert not default_target(half, "tensorrt").exists()
    graph = onnx.load(target)
    assert not graph.functions
    assert [node.op_type for node in graph.graph.node if node.domain] == [OP_TYPE]
    main([str(target), RTX])  # a builder that has only this file
    assert "plugin layers: 1 x PrototypeAttention" in capsys.readouterr().out


def test_a_plugin_that_refuses_the_node_is_one_line(half, with_plugin, failing):
    model = onnx.load(half)
    for node in model.graph.node:
        if node.op_type == OP_TYPE:
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("num_heads", 3))  # of 4 channels
    onnx.save(model, half)
    reason = "emca PrototypeAttention: C is 4 and num_heads 3; expected C of 1 to 512, a multiple"
    assert f"tensorrt-rtx cannot parse it ({reason}" in failing(main, half, RTX)
    assert not default_target(half, "tensorrt-rtx").exists()


def test_an_int8_file_says_what_a_t4_cannot_do(toys, capsys):
    pytest.importorskip("tensorrt_rtx")
    source = toys.model()
    target = source.with_suffix(".int8.onnx")
    quantize_file(source, target, data=toys.data(), images=3)
    main([str(target), RTX, "--no-plugin"])
    text = capsys.readouterr().out
    assert re.search(r"^convolution +INT8 +0 +1 +0 +0 +0$", text, re.M)
    assert "INT8 convolutions that run in FP16: 1; tensorrt-rtx has no INT8 convolution" in text
    main([str(target), RTX, "--no-plugin", "--sm=86"])
    text = capsys.readouterr().out
    assert re.search(r"^convolution +INT8 +1 +0 +0 +0 +0$", text, re.M)
    assert "that run in" not in text


def test_a_file_of_another_format_than_it_says(toys, failing):
    pytest.importorskip("tensorrt_rtx")
    lying = toys.model("lying.onnx", card={"precision": "fp16"})
    error = failing(main, lying, RTX, "--sm=86", "--no-plugin")
    assert "lying.onnx" in error
    assert "calls itself fp16 but its convolutions and matrix products are fp32" in error
    assert error.endswith("; --keepAnyway keeps such an engine\n")
    assert not default_target(lying, "tensorrt-rtx").exists()
    main([str(lying), RTX, "--sm=86", "--no-plugin", "--keepAnyway"])
    engine = default_target(lying, "tensorrt-rtx")
    assert EngineFile.read(engine).settings["keep_anyway"]
    (note,) = json.loads(json_path(engine).read_text())["notes"]
    assert note.startswith("Kept all the same: the file calls itself fp16")


def test_what_cannot_be_built_is_one_line_and_leaves_the_old_engine(toys, failing):
    pytest.importorskip("tensorrt_rtx")
    single = toys.model()
    engine = default_target(single, "tensorrt-rtx")
    engine.write_bytes(b"old")
    error = failing(main, single, RTX, "--no-plugin")
    assert "FP32 GEMM is not supported" in error
    assert error.endswith("; give the FP16 or INT8 file\n")
    assert engine.read_bytes() == b"old"
    assert sorted(path.name for path in toys.folder.iterdir()) == ["model.onnx", engine.name]


def test_what_cannot_be_parsed_names_the_node(half, failing):
    model = onnx.load(half)
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Tahn"
    onnx.save(model, half)
    error = failing(main, half, RTX, "--no-plugin")
    assert "tensorrt-rtx cannot parse it (node " in error
    assert "Tahn" in error


def test_mistakes_are_one_line(half, toys, failing):
    assert "gone.onnx: cannot read the model" in failing(main, "gone.onnx", RTX)
    assert "is the model itself" in failing(main, half, "--graphOnly", half)
    plan = half.rename(half.with_suffix(".plan"))
    assert "is the model itself" in failing(main, plan, RTX, "-o", plan)
    plan.rename(half)
    graph = ("--graphOnly", "g.onnx", "-o", "x.engine")
    assert "writes no engine; leave -o x.engine out" in failing(main, half, *graph)
    assert "give the engine a name that ends in .engine" in failing(main, half, RTX, "-o", "a.onnx")
    error = failing(main, half, RTX, "--sm=87", "--no-plugin")
    assert "--sm=8.7: " in error
    assert "builds for 75, 80, " in error
    assert '"tensorrtrtx" builds no engines (did you mean "tensorrt-rtx"?)' in failing(
        main, half, "--backend=tensorrtrtx"
    )


def test_a_library_that_is_no_plugin(half, tmp_path, monkeypatch, failing):
    monkeypatch.setenv("EMCA_PLUGIN", str(tmp_path / "gone.so"))
    assert "gone.so is no file" in failing(main, half, RTX)
    (tmp_path / "text.so").write_text("no library")
    monkeypatch.setenv("EMCA_PLUGIN", str(tmp_path / "text.so"))
    assert "text.so cannot be loaded" in failing(main, half, RTX)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_crash_is_one_line(half, tmp_path, monkeypatch, failing):
    child(monkeypatch, tmp_path, "os.write(2, b'a\\nfree(): bad\\n'); os.abort()")
    error = failing(main, half, RTX)
    assert "the builder of tensorrt-rtx died of SIGABRT (free(): bad); report this" in error
    child(monkeypatch, tmp_path, f"os.kill(os.getpid(), {int(signal.SIGKILL)})")
    error = failing(main, half, RTX)
    assert "died of SIGKILL (it said nothing); it most likely ran out of memory" in error


def test_what_the_system_refuses_is_one_line(half, tmp_path, monkeypatch, failing):
    answer = f"sys.path.insert(0, {str(Path.cwd())!r})"
    child(
        monkeypatch,
        tmp_path,
        f"""{answer}
import runtime.engines.child as own
def full(job, tell): raise OSError(28, "No space left on device")
own.build_engine = full
own.main()""",
    )
    error = failing(main, half, RTX)
    assert "No space left on device" in error
    assert not default_target(half, "tensorrt-rtx").exists()


def test_an_engine_without_its_json_does_not_stay(half, failing):
    target = default_target(half, "tensorrt-rtx")
    json_path(target).mkdir()
    assert "is a folder" in failing(main, half, RTX, "--no-plugin")
    assert not target.exists()


def test_a_defect_keeps_its_traceback(half, tmp_path, monkeypatch):
    child(monkeypatch, tmp_path, "pickle.load(sys.stdin.buffer); raise KeyError('oh')")
    with pytest.raises(RuntimeError, match=r"(?s)exit code 1:.*Traceback.*KeyError: 'oh'"):
        main([str(half), RTX])


def test_a_truncated_answer_is_a_crash(half, tmp_path, monkeypatch):
    child(
        monkeypatch, tmp_path, "sys.stdout.buffer.write(pickle.dumps([0] * 99)[:50]); sys.exit(3)"
    )
    with pytest.raises(RuntimeError, match="ended with exit code 3"):
        main([str(half), RTX])


def test_names_of_engines():
    assert default_target(Path("a/m.fp16.onnx"), "tensorrt") == Path("a/m.fp16.engine")
    assert default_target(Path("a/m.onnx"), "tensorrt-rtx") == Path("a/m.rtx.engine")
