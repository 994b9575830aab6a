"""Models, images and what Python makes of them, for the C++ tests to compare with.

python golden.py OUT
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from emca.files import sha256
from runtime.backends import EngineFile, load
from runtime.backends.engine_file import Profile
from runtime.backends.trt.checks import rebuild
from runtime.evaluate import predict
from runtime.to_openvino import convert
from segdata.card import ModelCard
from segdata.classes import generated_palette
from segdata.preprocess import MEAN, STD, fit, fitted, restore

CLASSES = ("sky", "road", "größe", "tree", "pole")
SIZE = (48, 64)
# Wide, high, far too large, far too small, as the network takes it, and of its aspect.
IMAGES = ((90, 200), (201, 77), (700, 930), (1, 1), (5, 33), SIZE, (96, 128))
TARGETS = (SIZE, (64, 48), (97, 33))
GRAPH = """
<ir_version: 9, opset_import: ["" : 18, "emca" : 1]>
small (uint8[{batch},48,64,3] image) => ({outputs}) {{
    pixels = Cast<to = 1>(image)
    planes = Transpose<perm = [0, 3, 1, 2]>(pixels)
    scaled = Mul(planes, per_255)
    edges = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(scaled, filters)
    bent = emca.Bend(edges)
    larger = Resize<mode = "linear">(bent, , zoom)
    scores = Conv(larger, weight, bias)
    winners = ArgMax<axis = 1, keepdims = 0>(scores)
    labels = Cast<to = 2>(winners)
}}
<domain: "emca", opset_import: ["" : 18]>
Bend (x) => (y) {{
    y = Tanh(x)
}}
"""


def make_card(head: str = "labels") -> ModelCard:
    """What the models say about themselves."""
    return ModelCard(
        classes=CLASSES,
        palette=generated_palette(len(CLASSES)),
        mean=MEAN,
        std=STD,
        ignore_index=255,
        input_size=SIZE,
        head=head,
        precision="fp32",
        checkpoint_sha256="0" * 64,
        trained_iterations=1,
        versions={},
        command="golden.py",
    )


def make_model(path: Path, *, batch: int | str = 1, head: str = "labels") -> Path:
    """A network of random weights; `scores` is for a head that C++ does not take."""
    outputs = {
        "labels": f"uint8[{batch},48,64] labels",
        "scores": f"float[{batch},{len(CLASSES)},48,64] scores",
    }[head]
    model = parser.parse_model(GRAPH.format(batch=batch, outputs=outputs))
    rng = np.random.default_rng(7)
    weights = {
        "per_255": np.float32(1 / 255),
        "filters": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "zoom": np.array([1, 1, 2, 2], np.float32),
        "weight": rng.standard_normal((len(CLASSES), 8, 1, 1)).astype(np.float32),
        "bias": np.zeros(len(CLASSES), np.float32),
    }
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in weights.items())
    onnx.helper.set_model_props(model, make_card(head).to_props())
    path.write_bytes(model.SerializeToString())
    return path


def make_profile(*batches: int) -> Profile:
    """A profile by its smallest, best and largest batch."""
    return Profile(*((batch, *SIZE, 3) for batch in batches))


def make_engine(folder: Path, name: str, plan: str = "good", **changes: Any) -> EngineFile:
    """NAME.engine for a T4, whose plan is text that the fake TensorRT understands, and its JSON."""
    path = folder / f"{name}.engine"
    path.write_text(plan)
    values: dict[str, Any] = {
        "card": make_card(),
        "backend": "tensorrt",
        "version": "10.3.0.26",
        "device": "Tesla T4",
        "compute_capabilities": ("7.5",),
        "version_compatible": False,
        "hardware_compatibility": "none",
        "profiles": (make_profile(1, 1, 4),),
        "plugins": {},
        "onnx_path": "../one.onnx",
        "onnx_sha256": "0" * 64,
        "engine_sha256": sha256(path),
    }
    engine = EngineFile(path=path, **values | changes)
    engine.write({})
    return engine


def make_engines(folder: Path) -> None:
    """Engines that run and engines that are refused, and the commands that build some again."""
    folder.mkdir(exist_ok=True)
    make = partial(make_engine, folder)
    described = [
        make("good"),
        make("fixed", profiles=(make_profile(2, 2, 2),)),
        make("narrow", profiles=(make_profile(1, 8, 16), make_profile(1, 1, 2))),
        make("large", profiles=(make_profile(8, 8, 16), make_profile(2, 2, 4))),
        make("later", version="10.0.1", version_compatible=True),
        make("plain", profiles=(make_profile(1, 1, 1),), settings={"plugins": [], "workspace": 0}),
        make(
            "it's told",
            hardware_compatibility="same_compute_capability",
            onnx_path="../gone.onnx",
            settings={
                "plugins": ["One", "Two"],
                "workspace": 1 << 40,
                "optimization_level": 0,
                "tf32": False,
                "libraries": ["0" * 64] * 2,
                "keep_anyway": True,
            },
        ),
        make("ampere", hardware_compatibility="ampere_plus"),
    ]
    lines = [f"{engine.path.stem}\t{rebuild(engine)}\n" for engine in described]
    (folder / "rebuild.txt").write_text("".join(lines))
    wide = Profile(*[(1, 48, 640, 3)] * 3)
    make("wide", profiles=(wide,))
    make("newer", version="10.4.0", version_compatible=True)
    make("old", version="10.1.0")
    make("rtx", backend="tensorrt-rtx")
    make("scores", card=make_card("scores"))
    make("plugin", plugins={"PrototypeAttention": 3})
    make("others", plugins={"MultiscaleDeformableAttnPlugin_TRT": 6})
    make("uncapturable", "capture fails")
    make("failing", "enqueue fails")
    make("floats", "float labels")
    make("hungry", "no context")
    make("broken", "refuse: Serialization assertion magicTag failed")
    make("foreign", "refuse: The engine was built for an incompatible device")


def make_image(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Noise on waves: every pixel differs from its neighbours, and so do whole regions."""
    rows, columns = np.indices(size)[..., None]
    waves = np.sin(rows / 9 + np.arange(3)) + np.cos(columns / 13 + np.arange(3) ** 2)
    noisy = 128 + 55 * waves + rng.normal(0, 25, (*size, 3))
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def write(path: Path, image: NDArray[np.uint8]) -> None:
    """Labels, or RGB, as PNG."""
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"{path} is not written")


def main(out: Path) -> None:
    """Write everything."""
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    for name, batch in (("one", 1), ("two", 2), ("any", "N")):
        convert(make_model(out / f"{name}.onnx", batch=batch))
    convert(make_model(out / "scores.onnx", head="scores"))
    backend = load(out / "one.onnx", "openvino")
    for number, size in enumerate(IMAGES):
        image = make_image(rng, size)
        write(out / f"image{number}.png", image)
        labels = predict(backend, image)
        write(out / f"image{number}.labels.png", labels)
        for height, width in TARGETS:
            stem = f"image{number}.{height}x{width}"
            write(out / f"{stem}.fit.png", fit(image, (height, width)))
            map_ = rng.integers(0, 256, (height, width), np.uint8)
            write(out / f"{stem}.map.png", map_)
            write(out / f"{stem}.restored.png", restore(map_, size))
    sizes = rng.integers(1, 5000, (2000, 4))
    sizes[:500, :2] = rng.integers(1, 40, (500, 2))
    lines = [" ".join(map(str, (*s, *fitted(tuple(s[:2]), tuple(s[2:]))))) for s in sizes.tolist()]
    make_engines(out / "engines")
    (out / "fitted.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
