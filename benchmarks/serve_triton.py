"""A served model labels as `runtime.evaluate.predict` does, on a real Triton Inference Server.

python benchmarks/serve_triton.py MODEL.onnx… --wheel nvidia_pytriton-0.7.0-….whl --images FOLDER
                                  [--out benchmarks/serve_triton.json]

NVIDIA's wheel nvidia-pytriton (`pip download --no-deps nvidia-pytriton==0.7.0`) holds a Triton 2.51
with its Python backend alone. So the repositories are those of runtime.serve_repository with two
changes: `platform` becomes `backend: "python"`, and a model.py runs model.onnx with onnxruntime.
Configuration, batching, warm-up, both protocols and the client are the real ones. That Python
backend misreads NumPy 2: `pip install --target FOLDER numpy==1.26.4`, and name it with --numpy1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from runtime.backends import load
from runtime.evaluate import predict
from runtime.results.machine import command_line
from runtime.results.output import json_output, origin
from runtime.serve_client import main as label
from runtime.serve_repository import main as serve
from runtime.serve_repository import model_name
from segdata.preprocess import read_image, read_label

HTTP, GRPC, METRICS = 18000, 18001, 18002
MODEL = """
import sys
sys.path[:0] = {paths!r}
import os
import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(
            path, providers=["CPUExecutionProvider"],
            disabled_optimizers=["WeightBiasQuantization"])
        self.batched = self.session.get_inputs()[0].shape[0] != 1

    def execute(self, requests):
        images = [pb_utils.get_input_tensor_by_name(r, "image").as_numpy() for r in requests]
        batches = [np.concatenate(images)] if self.batched else images
        labels = np.concatenate([self.session.run(None, {{"image": x}})[0] for x in batches])
        ends = np.cumsum([len(x) for x in images])[:-1]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("labels", np.ascontiguousarray(part))])
                for part in np.split(labels, ends)]
"""


def unpack(wheel: Path, folder: Path) -> Path:
    """The server of the wheel, ready to start."""
    zipfile.ZipFile(wheel).extractall(folder)
    server = folder / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, server / "backends" / "python")
    for program in (server / "bin" / "tritonserver", *server.rglob("triton_python_backend_stub")):
        program.chmod(0o755)
    return server


def with_python_backend(repository: Path, numpy1: Path) -> None:
    """Let model.py stand for Triton's own onnxruntime."""
    paths = [str(numpy1), str(Path(onnxruntime.__file__).parents[1])]
    for config in repository.glob("*/config.pbtxt"):
        text = config.read_text().replace('platform: "onnxruntime_onnx"', 'backend: "python"')
        config.write_text(text)
        (config.parent / "1" / "model.py").write_text(MODEL.format(paths=paths))


@contextmanager
def running(server: Path, repository: Path, log: Path) -> Iterator[None]:
    """Triton on the repository, from ready to gone."""
    libraries = [server.parents[1] / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    options = [f"--model-repository={repository}", f"--backend-directory={server / 'backends'}"]
    ports = [f"--http-port={HTTP}", f"--grpc-port={GRPC}", f"--metrics-port={METRICS}"]
    command = [server / "bin" / "tritonserver", *options, *ports]
    with (
        log.open("w") as file,
        subprocess.Popen(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            while not ready():
                if process.poll() is not None:
                    sys.exit(f"tritonserver ended: {log.read_text()[-2000:]}")
                time.sleep(0.5)
            yield
        finally:
            process.terminate()


def ready() -> bool:
    """Whether the models are loaded and warm."""
    try:
        address = f"http://localhost:{HTTP}/v2/health/ready"
        return bool(urllib.request.urlopen(address).status == 200)
    except OSError:
        return False


def counters(name: str) -> dict[str, float]:
    """Requests and executions of a model so far, the warm-up's too."""
    text = urllib.request.urlopen(f"http://localhost:{METRICS}/metrics").read().decode()
    found = {}
    for key in ("nv_inference_request_success", "nv_inference_exec_count"):
        lines = [ln for ln in text.splitlines() if ln.startswith(f'{key}{{model="{name}"')]
        found[key] = float(lines[0].rsplit(" ", 1)[1])
    return found


def compare(model: Path, images: Path, work: Path) -> dict[str, Any]:
    """Labels of one model over both protocols against `predict`."""
    name = model_name(model)
    row: dict[str, Any] = {
        "model": model.name,
        **{f"before_{k}": v for k, v in counters(name).items()},
    }
    backend = load(model, "onnxruntime")
    wanted = {path.stem: predict(backend, read_image(path)) for path in sorted(images.iterdir())}
    for protocol, port in (("http", HTTP), ("grpc", GRPC)):
        out = work / f"{name}-{protocol}"
        flags = ["--grpc"] if protocol == "grpc" else []
        label([f"localhost:{port}", name, str(images), "-o", str(out), "--in-flight=4", *flags])
        same = [np.array_equal(read_label(out / f"{n}.labels.png"), w) for n, w in wanted.items()]
        row[f"{protocol}_identical"] = f"{sum(same)} of {len(same)}"
    return {**row, **counters(name)}


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--numpy1", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, json_output(args.out) as write:
        work = Path(folder)
        server = unpack(args.wheel, work / "wheel")
        serve([*map(str, args.models), "-o", str(work / "repo")])
        with_python_backend(work / "repo", args.numpy1.resolve())
        with running(server, work / "repo", work / "triton.log"):
            rows = [compare(model, args.images, work) for model in args.models]
        for row in rows:
            print(row)
        write(
            {
                **origin(command_line("benchmarks.serve_triton", sys.argv[1:])),
                "server": args.wheel.name,
                "rows": rows,
            }
        )


if __name__ == "__main__":
    main()
