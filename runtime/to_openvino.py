"""A model file for the C++ library on a CPU.

python -m runtime.to_openvino MODEL.onnx [-o MODEL.xml]

Writes OpenVINO's own format, MODEL.xml and MODEL.bin: the very graph that the Python backend
compiles, so that both give the same labels. The model card and the options to compile with travel
in it as `rt_info`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import openvino

from emca.cli import Parser, run
from emca.errors import UserError
from emca.files import atomic_path, beside, sha256
from runtime.backends.base import ModelFile
from runtime.backends.ov.backend import CONFIG, DEVICE, read_network, refusal
from segdata.card import FORMAT_VERSION

SUFFIX = ".xml"


def convert(model: str | Path, target: str | Path | None = None) -> Path:
    """Write the model as `target`, NAME.xml, with its weights beside it in NAME.bin.

    Args:
        model: an ONNX file of export.to_onnx or calibration, of any number format.
        target: by default beside the model.

    Returns:
        Path of the .xml.

    Raises:
        UserError: no such model, a target of another suffix or that cannot be written, or OpenVINO
            cannot read the model.
    """
    path = Path(model)
    target = Path(target) if target else beside(path, SUFFIX)
    if target.suffix != SUFFIX:
        raise UserError(f"{target}: OpenVINO's files end in {SUFFIX}; name it NAME{SUFFIX}")
    source = ModelFile.read(path)
    try:
        network = read_network(source)
    except RuntimeError as error:
        raise refusal(source, error) from error
    _describe(network, source)
    weights = target.with_suffix(".bin")
    with atomic_path(target) as new, atomic_path(weights) as new_weights:
        try:
            # Twice, for the fingerprint: an .xml would run with any .bin of the right size.
            openvino.serialize(network, new, new_weights)
            network.set_rt_info(sha256(new_weights), ["emca", "weights_sha256"])
            openvino.serialize(network, new, new_weights)
        except RuntimeError as error:  # OpenVINO's for whatever the system refuses
            reason = "cannot be written; check the folder and the disk"
            raise UserError(f"{target}: {reason}") from error
        target.unlink(missing_ok=True)  # so that at no time two stand together that differ
    return target


def _describe(network: openvino.Model, source: ModelFile) -> None:
    """Put what C++ needs to know besides the graph into the network."""
    values = {
        "format_version": FORMAT_VERSION,
        "card": json.dumps(dataclasses.asdict(source.card)),
        "device": DEVICE,
        "config": json.dumps(CONFIG),
    }
    for key, value in values.items():
        network.set_rt_info(value, ["emca", key])


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(
        prog="python -m runtime.to_openvino", description="Convert a model for the C++ library."
    )
    parser.add_argument("model", type=Path, help=".onnx of export.to_onnx or calibration")
    parser.add_argument("-o", "--out", type=Path, metavar="MODEL.xml")
    args = parser.parse_args(argv)
    target = convert(args.model, args.out)
    print(f"{target} and {target.with_suffix('.bin').name}, for the C++ library")


if __name__ == "__main__":
    run(main)
