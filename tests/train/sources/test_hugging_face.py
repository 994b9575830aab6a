import json
import shutil
import subprocess
import sys

import foreign
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as hf_logging

from emca.errors import UserError
from segdata.classes import ADE20K, CITYSCAPES
from train.sources import load_source

KINDS = {
    "mask2former": "Mask2Former (Hugging Face)",
    "maskformer": "MaskFormer (Hugging Face)",
    "segformer": "SegFormer-B0",
}
ADE = {str(i): name for i, name in enumerate(ADE20K.classes)}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Of each kind a model and the folder that it was saved to."""
    saved = {}
    for kind in KINDS:
        model = foreign.hugging_face(kind).eval()
        folder = tmp_path_factory.mktemp("hub") / f"{kind}-tiny"
        model.save_pretrained(folder)
        saved[kind] = model, folder
    return saved


@pytest.fixture
def folder(models, tmp_path):
    """A copy of the SegFormer's folder, to be spoilt."""
    return shutil.copytree(models["segformer"][1], tmp_path / "segformer-tiny")


def load(folder):
    lines = []
    checkpoint = load_source(str(folder), tell=lines.append)
    return checkpoint, lines


def edit(folder, name="config.json", **changes):
    path = folder / name
    tree = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(tree | changes))


def edit_tensors(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def check_equal(model, network):
    image = torch.randint(0, 256, (1, 3, 75, 101), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs, ours = model(network.normalize(image)), network(image)
    if hasattr(theirs, "logits"):
        pairs = [(ours.scores, theirs.logits)]
    else:
        pairs = [
            (ours.class_logits[-1], theirs.class_queries_logits),
            (ours.mask_logits[-1], theirs.masks_queries_logits),
        ]
    for got, wanted in pairs:
        assert wanted.std() > 0.05
        assert (got - wanted).norm() < 1e-4 * wanted.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_folder_gives_the_logits_of_its_model(models, kind):
    model, folder = models[kind]
    checkpoint, lines = load(folder)
    assert checkpoint.imported_from == f"{KINDS[kind]}: {kind}-tiny"
    assert checkpoint.classes == CITYSCAPES.classes  # 19, nobody named them
    assert checkpoint.palette == CITYSCAPES.palette
    assert checkpoint.config.eval_size == (1024, 2048)
    assert (checkpoint.iterations, checkpoint.miou) == (0, None)
    assert len(lines) == 1
    assert lines[0].startswith(f"{KINDS[kind]}: ")
    assert lines[0].endswith("0 left over, 0 missing")
    check_equal(model, checkpoint.build())


def test_a_swin_as_older_releases_saved_it(tmp_path):
    """Published files hold an index for each window attention, and Swin without its last norm."""
    model = foreign.hugging_face("mask2former", "swin_tiny").eval()
    model.save_pretrained(tmp_path)
    prefix = "model.pixel_level_module.encoder."

    def age(state):
        for name in [name for name in state if f"{prefix}swin.layernorm" in name]:
            del state[name]
        index = "attention.self.relative_position_index"
        for block in {n.partition("attention")[0] for n in state if "self.query" in n}:
            state[block + index] = torch.zeros(49, 49, dtype=torch.int64)
        assert f"{prefix}encoder.layers.3.blocks.1.{index}" in state

    edit_tensors(tmp_path, age)
    checkpoint, lines = load(tmp_path)
    assert lines[0].endswith("13 not needed, 0 left over, 0 missing")
    check_equal(model, checkpoint.build())


def test_classes_keep_their_names(folder):
    names = [f"thing {i}" for i in range(foreign.CLASSES)]
    edit(folder, id2label={str(i): name for i, name in enumerate(names)})
    checkpoint, _ = load(folder)
    assert checkpoint.classes == tuple(names)
    assert checkpoint.config.eval_size == (512, 512)


def test_as_many_classes_as_another_task_has_pass_under_names_of_their_own(tmp_path):
    foreign.hugging_face("maskformer", num_labels=8).save_pretrained(tmp_path)
    names = [f"crop {i}" for i in range(8)]
    edit(tmp_path, id2label={str(i): name for i, name in enumerate(names)})
    checkpoint, _ = load(tmp_path)
    assert checkpoint.classes == tuple(names)
    edit(tmp_path, id2label={str(i): f"LABEL_{i}" for i in range(8)})
    with pytest.raises(UserError, match=r"a Cityscapes instance .* config\.json names them"):
        load(tmp_path)


def test_half_precision_weights_are_read_in_single(folder):
    edit_tensors(folder, lambda state: state.update({n: x.half() for n, x in state.items()
                                                     if x.is_floating_point()}))  # fmt: skip
    edit(folder, dtype="float16")
    checkpoint, _ = load(folder)
    assert {x.dtype for x in checkpoint.model.values()} == {torch.float32, torch.int64}


def test_a_missing_tensor_is_named(folder):
    edit_tensors(folder, lambda state: state.pop("decode_head.linear_fuse.weight"))
    with pytest.raises(UserError, match=r"lacks 1 tensors, first 'decode_head\.linear_fuse\.wei"):
        load(folder)


def test_a_tensor_of_another_shape_is_named_with_both(folder):
    name = "decode_head.classifier.weight"
    edit_tensors(folder, lambda state: state.update({name: torch.ones(7, 256, 1, 1)}))
    with pytest.raises(UserError, match=r"weight' is \(7, 256, 1, 1\), .* for \(19, 256, 1, 1\)"):
        load(folder)


def test_a_tensor_too_many_is_named(folder):
    edit_tensors(folder, lambda state: state.update(alien=torch.ones(1)))
    with pytest.raises(UserError, match="1 tensors are left over, first 'alien'; it is no plain"):
        load(folder)


def test_a_class_count_that_the_predictor_does_not_have_is_refused(folder):
    edit(folder, id2label=ADE, label2id={name: int(i) for i, name in ADE.items()})
    with pytest.raises(UserError, match=r"classifier\.\w+' is \(19,.*config.json asks for \(150,"):
        load(folder)


def test_another_kind_of_model_is_named(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(UserError, match="is a vit model; supported: mask2former, maskformer, seg"):
        load(folder)


def test_a_variant_that_we_do_not_build_is_named_with_the_folder(folder):
    edit(folder, sr_ratios=[4, 4, 2, 1])
    with pytest.raises(UserError, match=r"segformer-tiny': .*sr_ratios=\[4, 4, 2, 1\] is not supp"):
        load(folder)


@pytest.mark.parametrize("key", ["image_mean", "image_std"])
def test_other_normalisation_is_refused(folder, key):
    name = "preprocessor_config.json"
    mean, std = [0.485, 0.456, 0.406], [0.2290000021457672, 0.2239999920129776, 0.225]
    edit(folder, name, image_mean=mean, image_std=std, do_reduce_labels=True)
    assert load(folder)
    edit(folder, name, **{key: [0.5, 0.5, 0.5]})
    with pytest.raises(UserError, match=rf"with {key}=\[0\.5, 0\.5, 0\.5\]; only ImageNet's stat"):
        load(folder)
    for value in ("abc", [0.5], {"r": 0.5}, [[0.1], [0.2, 0.3]]):
        edit(folder, name, **{key: value})
        with pytest.raises(UserError, match=rf"normalises with {key}=.*; only ImageNet's stat"):
            load(folder)
    for text in ("{", "[1, 2]", "7"):
        (folder / name).write_text(text)
        with pytest.raises(UserError, match=r"config\.json cannot be read: .*; fetch it again"):
            load(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.unlink(), "no file named model.safetensors"),
        (lambda f: f.with_name("config.json").unlink(), "config.json"),
        (lambda f: f.with_name("config.json").write_text("{"), "not a valid JSON"),
        (lambda f: f.with_name("config.json").write_text("[1]"), "config.json"),
    ],
    ids=["no weights", "no configuration", "broken configuration", "a list"],
)
def test_damaged_folders_are_one_line_with_the_remedy(folder, spoil, message):
    spoil(folder / "model.safetensors")
    with pytest.raises(UserError, match=rf"(?i){message}.*needs config.json and model") as error:
        load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_cannot_be_read_are_named_in_one_line(folder, name):
    path = folder / name
    if name == "pytorch_model.bin":
        torch.save(load_file(folder / "model.safetensors"), path)
        (folder / "model.safetensors").unlink()
        assert load(folder)
    whole = path.read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 99\n"
    for part in (whole[:-100], whole[: len(whole) // 2], whole[:5], b"", pointer):
        path.write_bytes(part)
        with pytest.raises(UserError, match=r"segformer-tiny': its weights are damaged, .* again$"):
            load(folder)


def test_panoptic_models_are_refused_by_the_name_of_their_folder(models, tmp_path):
    folder = shutil.copytree(models["mask2former"][1], tmp_path / "swin-coco-panoptic")
    with pytest.raises(UserError, match="is a panoptic segmentation checkpoint"):
        load(folder)


def test_the_libraries_speak_as_before_afterwards(models):
    before = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    load(models["segformer"][1])
    assert (hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()) == before


OFFLINE = """
import sys, time
from emca.errors import UserError
from train.sources import load_source
for name in ("facebook/mask2former-swin-tiny-ade-semantic", "nobody/nothing"):
    start = time.time()
    try:
        load_source(name, tell=print)
    except UserError as error:
        print(error)
    assert time.time() - start < 10
"""


@pytest.mark.slow  # a process of its own: the library reads the variable when imported
def test_a_hub_id_without_a_network_says_how_to_download(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    for line in lines[::2]:
        assert line.startswith("looking for ")
    for line, name in zip(
        lines[1::2], ("facebook/mask2former-swin-tiny-ade-semantic", "nobody/nothing"), strict=True
    ):
        assert line.startswith(f"'{name}' is neither a file nor a folder here")
        assert f"hf download {name} --local-dir FOLDER, then give FOLDER" in line
