import copy

import foreign
import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from export.functions import FUNCTIONS, add_functions, with_custom_ops
from plugins import DOMAIN
from train.models import build_model
from train.models.deform_conv import DeformConvolution
from train.models.emca import PrototypeAttention
from train.models.msdeform import DeformableSampling

OPS = {
    "PrototypeAttention": PrototypeAttention,
    "MultiscaleDeformableAttnPlugin_TRT": DeformableSampling,
    "ModulatedDeformConv2d": DeformConvolution,
}


def model_of(*op_types, opset=18):
    nodes = [helper.make_node(op, ["x"], [f"y{i}"], domain=DOMAIN) for i, op in enumerate(op_types)]
    nodes.append(helper.make_node("Relu", ["x"], ["y"]))
    return helper.make_model(
        helper.make_graph(nodes, "nodes", [], []), opset_imports=[helper.make_opsetid("", opset)]
    )


def functions(model):
    return [(f.domain, f.name, f.opset_import[0].version) for f in model.functions]


def test_every_custom_op_has_a_function_of_its_name():
    assert FUNCTIONS.keys() == OPS.keys()
    for name, make in FUNCTIONS.items():
        function = make(18)
        assert (function.domain, function.name) == (DOMAIN, name)
        onnx.checker.check_function(function)


@pytest.mark.parametrize("opset", [17, 18, 19])
def test_only_what_is_in_use_is_added_and_only_once(opset):
    names = sorted(OPS)
    model = model_of(names[2], names[0], names[0], opset=opset)
    add_functions(model)
    assert functions(model) == [(DOMAIN, names[0], opset), (DOMAIN, names[2], opset)]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", opset), (DOMAIN, 1)]
    before = model.SerializeToString()
    add_functions(model)
    assert model.SerializeToString() == before
    model.graph.node.add().CopyFrom(model_of(names[1]).graph.node[0])
    add_functions(model)
    assert [f.name for f in model.functions] == [names[0], names[2], names[1]]


def test_a_model_without_custom_ops_stays_as_it_is():
    model = model_of(opset=16)
    before = copy.deepcopy(model)
    add_functions(model)
    assert model == before


def test_an_old_opset_is_refused():
    with pytest.raises(ValueError, match="opset 16; custom ops need 17 or newer"):
        add_functions(model_of("PrototypeAttention", opset=16))


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        (foreign.MASK2FORMER, {DeformableSampling: 1}),
        (foreign.PEM, {DeformConvolution: 3, PrototypeAttention: 3}),
    ],
)
def test_a_copy_has_nodes_where_the_model_has_modules(config, kinds):
    model = build_model(config, num_classes=3).eval()
    replaced = with_custom_ops(model)

    def count(network):
        return {kind: sum(type(m) is kind for m in network.modules()) for kind in kinds}

    assert count(model) == kinds
    assert count(replaced) == dict.fromkeys(kinds, 0)
    nodes = [m for m in replaced.modules() if type(m).__name__.endswith("Node")]
    assert len(nodes) == sum(kinds.values())
    ours, theirs = model.state_dict(), replaced.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_networks_without_custom_ops_export_as_they_are():
    with torch.device("meta"):
        model = build_model(foreign.PIDNET, num_classes=3)
    kinds = [type(m) for m in model.modules()]
    assert [type(m) for m in with_custom_ops(model).modules()] == kinds
