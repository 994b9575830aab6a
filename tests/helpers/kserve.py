"""A stand-in for Triton in tests: KServe's v2 protocol over HTTP, with binary tensors, and gRPC.

It speaks what tritonclient speaks, from the configuration that Triton would read, and runs the
model with a backend of ours. It batches nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from runtime.backends import load

LENGTH = "Inference-Header-Content-Length"


class Server(ThreadingHTTPServer):
    """Serves the models of a repository; `most` is how many requests were in it at once."""

    def __init__(self, repository: Path, configs: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.configs = configs
        self.backends = {
            name: load(repository / name / "1" / "model.onnx", "onnxruntime") for name in configs
        }
        self.lock = threading.Lock()
        self.inside = self.most = self.requests = 0
        self.together = threading.Barrier(1)  # a test may ask for more requests at once

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        name = self.path.split("/")[3]
        if name not in self.server.configs:
            self._answer(400, json.dumps({"error": f"Request for unknown model: '{name}'"}))
            return
        self._answer(200, json.dumps(self.server.configs[name]))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        size = int(self.headers[LENGTH])
        tensor = json.loads(body[:size])["inputs"][0]
        images = np.frombuffer(body[size:], np.uint8).reshape(tensor["shape"])
        with self.server.lock:
            self.server.requests += 1
            self.server.inside += 1
            self.server.most = max(self.server.most, self.server.inside)
        self.server.together.wait(timeout=30)
        labels = self.server.backends[self.path.split("/")[3]].infer(images)["labels"]
        with self.server.lock:
            self.server.inside -= 1
        output = {
            "name": "labels",
            "datatype": "UINT8",
            "shape": list(labels.shape),
            "parameters": {"binary_data_size": labels.nbytes},
        }
        self._answer(200, json.dumps({"outputs": [output]}), labels.tobytes())

    def _answer(self, code: int, text: str, binary: bytes = b"") -> None:
        head = text.encode()
        self.send_response(code)
        if binary:
            self.send_header(LENGTH, str(len(head)))
        self.send_header("Content-Length", str(len(head) + len(binary)))
        self.end_headers()
        self.wfile.write(head + binary)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(repository: Path, configs: dict[str, Any]) -> Iterator[Server]:
    """A server for the models of `configs`, the parsed config.pbtxt by name."""
    with Server(repository, configs) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving_grpc(server: Server, configs: dict[str, Any]) -> Iterator[str]:
    """The same models over gRPC, at the address that is yielded; `configs` holds messages."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        def ModelConfig(self, request: Any, context: Any) -> Any:
            if request.name not in configs:
                context.abort(grpc.StatusCode.NOT_FOUND, "Request for unknown model")
            return service_pb2.ModelConfigResponse(config=configs[request.name])

        def ModelInfer(self, request: Any, context: Any) -> Any:
            images = np.frombuffer(request.raw_input_contents[0], np.uint8)
            images = images.reshape(list(request.inputs[0].shape))
            labels = server.backends[request.model_name].infer(images)["labels"]
            answer = service_pb2.ModelInferResponse(raw_output_contents=[labels.tobytes()])
            answer.outputs.add(name="labels", datatype="UINT8", shape=labels.shape)
            return answer

    channel = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), channel)
    port = channel.add_insecure_port("127.0.0.1:0")
    channel.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        channel.stop(None).wait()
