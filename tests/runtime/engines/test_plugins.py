from types import SimpleNamespace

import pytest

import plugins
from emca.errors import UserError
from plugins import DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION, OP_TYPE
from runtime.backends.base import ModelFile
from runtime.backends.engine_file import Profile
from runtime.engines.graph import Plugin
from runtime.engines.options import BuildOptions
from runtime.engines.plugins import choose_plugins, plugin_counts

SHAPE = (1, 48, 64, 3)
OURS = ("1", "emca")


class TensorRt:
    """What is asked of the package and of its registry: which plugins there are."""

    __version__ = "10.3.0"
    LayerType = SimpleNamespace(PLUGIN_V2=2, PLUGIN_V3=3)

    def __init__(self, **own):
        self.own, self.all_creators = own, []

    def init_libnvinfer_plugins(self, log, namespace):
        known = {creator.name for creator in self.all_creators}
        for name, versions in self.own.items():
            if name not in known:
                self.add(name, *((version, "") for version in versions))

    def add(self, name, *entries):
        self.all_creators += [
            SimpleNamespace(name=name, plugin_version=version, plugin_namespace=namespace)
            for version, namespace in entries
        ]


@pytest.fixture
def model(toys):
    """A model with PrototypeAttention and, by name, a deformable attention."""
    file = ModelFile.read(toys.model())
    node = file.proto.graph.node.add()
    node.op_type, node.domain = DEFORMABLE_ATTENTION, plugins.DOMAIN
    return file


@pytest.fixture
def library(monkeypatch):
    """Whether there is a library with our plugin: `library.there`."""
    state = SimpleNamespace(there=True)

    def load(registry):
        if not state.there:
            raise UserError("libemca_plugin.so is missing; build it with make plugin")
        registry.add(OP_TYPE, OURS)

    monkeypatch.setattr(plugins, "load", load)
    monkeypatch.setattr(plugins, "find", lambda: "x.so" if state.there else None)
    return state


def choose(model, trt, *, backend="tensorrt", **options):
    profile = Profile(SHAPE, SHAPE, SHAPE)
    told = BuildOptions(backend=backend, profiles=(profile,), **options)
    return choose_plugins(trt, None, trt, model, told)


def test_ours_and_tensorrts_newest_are_the_default(model, library):
    chosen, notes = choose(model, TensorRt(**{DEFORMABLE_ATTENTION: ("1", "2")}))
    assert chosen == {OP_TYPE: Plugin("1", "emca"), DEFORMABLE_ATTENTION: Plugin("2", "")}
    assert notes == []


def test_a_version_compatible_engine_has_none_of_tensorrts_own(model, library):
    trt = TensorRt(**{DEFORMABLE_ATTENTION: ("1",)})
    assert list(choose(model, trt, version_compatible=True)[0]) == [OP_TYPE]


def test_tensorrt_without_our_library_is_an_error(model, library):
    library.there = False
    with pytest.raises(UserError, match=r"make plugin; --no-plugin builds without$"):
        choose(model, TensorRt())
    assert choose(model, TensorRt(), plugins=()) == ({}, [])


def test_tensorrt_rtx_without_our_library_says_so(model, library):
    library.there = False
    chosen, (note,) = choose(model, TensorRt(), backend="tensorrt-rtx")
    assert chosen == {}
    assert note == "PrototypeAttention runs as standard operators: make plugin has not been run."
    with pytest.raises(UserError, match="make plugin"):
        choose(model, TensorRt(), backend="tensorrt-rtx", plugins=(OP_TYPE,))


def test_a_plugin_that_was_asked_for_and_is_not_there(model, library):
    with pytest.raises(UserError, match=rf"{DEFORMABLE_ATTENTION}: tensorrt 10\.3\.0 has no plu"):
        choose(model, TensorRt(), plugins=(DEFORMABLE_ATTENTION,))
    with pytest.raises(UserError, match=r"model\.onnx has no such operator; leave it out"):
        choose(model, TensorRt(), plugins=(DEFORMABLE_CONVOLUTION,))


def test_every_node_has_to_become_a_layer(model):
    chosen = {OP_TYPE: Plugin("1", "emca")}
    layers = [SimpleNamespace(type=kind) for kind in (0, 3, 1)]

    def network():
        return SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)

    assert plugin_counts(TensorRt(), network(), model, chosen) == {OP_TYPE: 1}
    layers.append(SimpleNamespace(type=2))
    with pytest.raises(
        UserError, match=r"made 2 plugin layers of 1 nodes \(PrototypeAttention 1\)"
    ):
        plugin_counts(TensorRt(), network(), model, chosen)
    with pytest.raises(UserError, match=r"made 2 plugin layers of 0 nodes \(no plugin\)"):
        plugin_counts(TensorRt(), network(), model, {})
