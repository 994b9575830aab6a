from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from calibration.int8 import main, quantize_file, to_int8
from calibration.ranges.calibrate import METHODS
from calibration.rewrite.edit import Links, element_types
from emca.errors import UserError
from emca.files import sha256
from plugins import OP_TYPE
from runtime.backends.base import ModelFile


@pytest.mark.parametrize("method", METHODS)
def test_scores_stay_close(scores_model, scenes, run, method):
    quantised = to_int8(scores_model, scenes[:4], method)
    expected, actual = run(scores_model, scenes[6:]), run(quantised, scenes[6:])
    assert actual.dtype == np.float32
    assert np.corrcoef(expected.ravel(), actual.ravel())[0, 1] > 0.985
    assert not np.array_equal(expected, actual)


def test_labels_stay(labels_model, scenes, run):
    quantised = to_int8(labels_model, scenes[:6])
    expected, actual = run(labels_model, scenes[6:]), run(quantised, scenes[6:])
    assert np.bincount(expected.ravel()).max() < 0.6 * expected.size  # more than one class
    assert (expected == actual).mean() > 0.9


def test_q_and_dq_are_signed_and_symmetric(int8_scores):
    links = Links(int8_scores.graph)
    for node in int8_scores.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            zero = numpy_helper.to_array(links.constants[node.input[2]])
            assert zero.dtype == np.int8
            assert not zero.any()
            scale = numpy_helper.to_array(links.constants[node.input[1]])
            assert scale.dtype == np.float16
            assert (scale > 0).all()
            assert scale.ndim == (1 if node.input[0] in links.constants else 0)


def test_only_layers_and_sums_read_int8(int8_scores):
    links = Links(int8_scores.graph)
    readers = Counter()
    for node in int8_scores.graph.node:
        quantised = [
            index
            for index, name in enumerate(node.input)
            if name in links.producer and links.producer[name].op_type == "DequantizeLinear"
        ]
        if quantised:
            readers[node.op_type, tuple(quantised)] += 1
    # projected block (3), plain block's second, stem, lateral, smooth, mask features, depthwise
    assert readers.pop(("Conv", (0, 1))) == 9
    # The plain block's first convolution and its shortcut read what was pooled in INT8.
    assert readers.pop(("Conv", (1,))) == 1
    assert readers.pop(("MaxPool", (0,))) == 1
    # the upsampled map; the sum with the projected shortcut is read in floating point only
    assert readers.pop(("Add", (1,))) == 1
    # feature, update, two of the feed-forward: no head and no product of activations
    assert readers.pop(("MatMul", (0, 1))) == 4
    assert not readers


def test_a_tensor_has_one_pair(int8_scores):
    sources = [n.input[0] for n in int8_scores.graph.node if n.op_type == "QuantizeLinear"]
    assert len(sources) == len(set(sources))


def test_the_rest_is_in_half_precision(int8_scores):
    onnx.checker.check_model(int8_scores, full_check=True)
    onnx.shape_inference.infer_shapes(int8_scores, strict_mode=True)
    types = element_types(int8_scores)
    products = [n for n in int8_scores.graph.node if n.op_type in {"Conv", "MatMul", OP_TYPE}]
    assert {types[name] for node in products for name in node.input} == {TensorProto.FLOAT16}
    assert [function.name for function in int8_scores.functions] == [OP_TYPE]


def test_openvino_runs_the_layers_in_int8(int8_scores, scores_model, scenes, run, compile_openvino):
    compiled = compile_openvino(int8_scores)
    precisions = Counter()
    for operation in compiled.get_runtime_model().get_ordered_ops():
        info = operation.get_rt_info()
        kind, precision = (str(info[key].astype(str)) for key in ("layerType", "runtimePrecision"))
        precisions[kind, precision] += 1
    eight_bits = {
        kind: precisions[kind, "i8"] + precisions[kind, "u8"]
        for kind in ("Convolution", "FullyConnected")
    }
    assert eight_bits == {"Convolution": 10, "FullyConnected": 4}
    actual = next(iter(compiled(scenes[7][None]).values()))
    expected = run(scores_model, scenes[7:8])
    assert np.corrcoef(expected.ravel(), actual.ravel())[0, 1] > 0.985


def test_tensorrt_builds_it_and_runs_the_layers_in_int8(labels_model, scenes, build_with_tensorrt):
    quantised = to_int8(labels_model, scenes[:2])
    engine = build_with_tensorrt(quantised, "int8", "8.6")
    assert (engine["convolution", "int8"], engine["matrix product", "int8"]) == (10, 4)
    # TensorRT-RTX has no INT8 convolution for Turing and takes the FP16 one.
    engine = build_with_tensorrt(quantised, "int8", "7.5")
    assert (engine["convolution", "int8"], engine["matrix product", "int8"]) == (0, 4)


def test_weights_take_a_byte(scores_model, int8_scores):
    weights = [t for t in int8_scores.graph.initializer if t.name.endswith("/quantized")]
    assert {tensor.data_type for tensor in weights} == {TensorProto.INT8}
    assert len(weights) == 14
    assert not [t.name for t in int8_scores.graph.initializer if t.data_type == TensorProto.FLOAT
                and len(t.dims) > 1 and np.prod(t.dims) > 100]  # fmt: skip


def test_file_records_the_images(file):
    target = file.with_name("small.onnx")
    quantize_file(file, target, data="scenes:n=40:train", images=4, method="percentile")
    card = ModelFile.read(target).card
    assert card.precision == "int8"
    assert card.source_sha256 == sha256(file)
    assert card.calibration["data"] == "scenes:n=40:train"
    assert card.calibration["method"] == "percentile"
    assert len(set(card.calibration["images"])) == 4
    first = target.read_bytes()
    quantize_file(file, target, data="scenes:n=40:train", images=4, method="percentile")
    assert target.read_bytes() == first
    quantize_file(file, target, data="scenes:n=40:val", images=4, method="percentile")
    assert ModelFile.read(target).card.calibration["sha256"] != card.calibration["sha256"]


def test_command_line(file, capsys):
    main([str(file), "--data", "scenes:n=8:train", "--images=4"])
    target = file.with_name("model.int8.onnx")
    assert capsys.readouterr().out.startswith(f"{target}: labels agree with FP32 on ")
    with pytest.raises(UserError, match="is int8 already"):
        main([str(target), "--data", "scenes:"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "scenes:n=3"], "has 3 images but 64 are wanted; give more data or --images 3"),
        (["--data", "scenes:n=3", "--images", "0"], "--images is 0"),
        (["--data", "scenes:", "--held-out", "9"], r"--held-out=9 is for --compare-methods"),
        (["--data", "scenes:", "--backend", "x"], r"--backend=x is for --compare-methods"),
        (["--data", "scenes:", "--compare-methods", "--method=entropy"], "leave out --method"),
        (["--data", "scenes:", "-o", "x.json"], r"-o x\.json is no name of a model"),
        (["--data", "scenes:n=3", "--method", "entrop"], r'no calibration method .*"entropy"'),
        (["--data", "nowhere:"], "unknown data set 'nowhere'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(file, arguments, message):
    with pytest.raises(UserError, match=message):
        main([str(file), *arguments])
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]


def test_images_must_be_there_and_fit(scores_model):
    with pytest.raises(UserError, match="no images to calibrate with"):
        to_int8(scores_model, [])
    with pytest.raises(
        UserError, match=r"uint8 \[50, 60, 3\] but the model takes uint8 \[96, 128, 3\]"
    ):
        to_int8(scores_model, [np.zeros((50, 60, 3), np.uint8)])


def test_quantised_and_old_models_are_refused(int8_scores, scores_model, scenes):
    with pytest.raises(UserError, match="is quantised already"):
        to_int8(int8_scores, scenes[:1])
    old = onnx.ModelProto()
    old.CopyFrom(scores_model)
    old.opset_import[0].version = 17
    with pytest.raises(UserError, match="has opset 17; export it with --opset 18"):
        to_int8(old, scenes[:1])


def test_broken_activations_are_named(scores_model, scenes):
    broken = onnx.ModelProto()
    broken.CopyFrom(scores_model)
    bias = next(n.input[2] for n in broken.graph.node if n.op_type == "Conv" and len(n.input) > 2)
    tensor = next(t for t in broken.graph.initializer if t.name == bias)
    values = np.full(tuple(tensor.dims), np.nan, np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, bias))
    with pytest.raises(UserError, match=r"tensor '.*' is nan on a calibration image"):
        to_int8(broken, scenes[:1])


def test_a_constant_zero_activation_is_harmless(scores_model, scenes, run):
    silent = onnx.ModelProto()
    silent.CopyFrom(scores_model)
    kernel = next(n.input[1] for n in silent.graph.node if n.op_type == "Conv")
    tensor = next(t for t in silent.graph.initializer if t.name == kernel)
    tensor.CopyFrom(numpy_helper.from_array(np.zeros(tuple(tensor.dims), np.float32), kernel))
    norm = next(n for n in silent.graph.node if n.op_type == "BatchNormalization")
    for tensor in silent.graph.initializer:
        if tensor.name in norm.input[2:4]:  # shift and mean: the first layer says nothing but zero
            zeros = np.zeros(tuple(tensor.dims), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
    quantised = to_int8(silent, scenes[:2])
    expected, actual = run(silent, scenes[6:7]), run(quantised, scenes[6:7])
    assert np.corrcoef(expected.ravel(), actual.ravel())[0, 1] > 0.98
