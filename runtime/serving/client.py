"""A model on a Triton Inference Server, called as if it were here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emca.errors import UserError
from runtime.serving.config import CLASSES, PALETTE
from segdata.preprocess import fit, restore

PROTOCOLS = ("http", "grpc")
TIMEOUT_S = 60
LAST_PORT = 65535
_ADDRESS = re.compile(r"[^/\s:]+:\d+|\[[0-9A-Fa-f:.]+\]:\d+")


class ServedModel:
    """Labels images of any size with a model of runtime.serve_repository.

    `fit` and `restore` are done here, so that only the network's input and its labels travel.
    One object serves one thread.

    Attributes:
        classes: class names; the index is the label.
        palette: one RGB colour per class, 0..255.
        input_size: (H, W) of the network.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    input_size: tuple[int, int]

    def __init__(self, url: str, name: str, *, protocol: str = "http") -> None:
        """Ask the server for the model.

        Args:
            url: HOST:PORT; Triton listens at 8000 for HTTP and at 8001 for gRPC.
            name: the model's.
            protocol: one of PROTOCOLS.

        Raises:
            UserError: no such protocol, no server answers, it has no such model, or the model is
                not one of runtime.serve_repository.
        """
        if protocol not in PROTOCOLS:
            raise UserError(f"{protocol!r} is no protocol; take {' or '.join(PROTOCOLS)}")
        self._url, self._name, self._protocol = url, name, protocol
        self._module = _module(protocol)
        self._client = self._open()
        with self._answers():
            found = self._client.get_model_config(name, **self._as_json())
        config = found.get("config", found)
        try:
            self.classes, self.palette = _card(config["parameters"])
            self._batch, self.input_size = _shape(config)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise UserError(
                f"{url}: model {name} does not say what it labels ({error!r}); serve a repository "
                "of python -m runtime.serve_repository"
            ) from error

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Label one RGB image, uint8 [h,w,3] of any size; the result is uint8 [h,w].

        Raises:
            UserError: the server is gone or refuses.
        """
        fitted = fit(image, self.input_size)[None]
        labels = self.infer(np.repeat(fitted, self._batch, axis=0))[0]
        return restore(labels, (image.shape[0], image.shape[1]))

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels uint8 [N,H,W] of a batch uint8 [N,H,W,3] that has the network's size.

        Raises:
            UserError: the server is gone or refuses the batch.
        """
        tensor = self._module.InferInput("image", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        with self._answers():
            result = self._client.infer(self._name, [tensor], **self._timeout())
            labels = result.as_numpy("labels")
        if labels is None or labels.dtype != np.uint8 or labels.shape != images.shape[:3]:
            raise UserError(f"{self._url}: model {self._name} answered without labels of the image")
        return np.asarray(labels)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _open(self) -> Any:
        if not _ADDRESS.fullmatch(self._url):
            raise UserError(f"{self._url} is no HOST:PORT; leave out http:// and paths")
        if not 1 <= int(self._url.rpartition(":")[2]) <= LAST_PORT:
            raise UserError(f"{self._url}: ports go from 1 to {LAST_PORT}; Triton's are 8000, 8001")
        own: dict[str, Any] = {}
        if self._protocol == "http":
            own = {"connection_timeout": TIMEOUT_S, "network_timeout": TIMEOUT_S}
        return self._module.InferenceServerClient(self._url, **own)

    def _as_json(self) -> dict[str, bool]:
        return {"as_json": True} if self._protocol == "grpc" else {}

    def _timeout(self) -> dict[str, float]:
        return {"client_timeout": TIMEOUT_S} if self._protocol == "grpc" else {}

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Turn what the libraries throw at a bad answer, or none, into a UserError."""
        refused = import_module("tritonclient.utils").InferenceServerException
        try:
            yield
        except refused as error:
            status, reason = error.status() or "", error.message() or "no reason given"
            if "UNAVAILABLE" in status or "DEADLINE" in status:
                raise self._silent(reason) from error
            raise UserError(f"{self._url}: model {self._name}: {reason}") from error
        except Exception as error:  # sockets, parsers, gevent: no common base
            raise self._silent(str(error)) from error

    def _silent(self, reason: str) -> UserError:
        first = reason.splitlines()[0] if reason else "timed out"
        port = 8001 if self._protocol == "grpc" else 8000
        return UserError(
            f"{self._url}: no Triton server answers over {self._protocol} ({first}); start it, or "
            f"check the address, which by default ends in :{port}"
        )


def _module(protocol: str) -> Any:
    try:
        return import_module(f"tritonclient.{protocol}")
    except (ImportError, RuntimeError) as error:  # it wraps an ImportError
        raise UserError("tritonclient is not installed; pip install 'tritonclient[all]'") from error


def _card(
    parameters: Mapping[str, Any],
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Classes and palette, which stand in the configuration as JSON."""
    classes = tuple(json.loads(parameters[CLASSES]["string_value"]))
    palette = tuple(tuple(colour) for colour in json.loads(parameters[PALETTE]["string_value"]))
    if len(classes) != len(palette):
        raise ValueError(f"{len(classes)} classes, {len(palette)} colours")
    return classes, palette


def _shape(config: Mapping[str, Any]) -> tuple[int, tuple[int, int]]:
    """How many images the model takes at least, and their size."""
    dims = [int(size) for size in config["input"][0]["dims"]]
    batch = 1 if int(config.get("max_batch_size", 0)) else dims.pop(0)
    height, width, _ = dims
    return batch, (height, width)
