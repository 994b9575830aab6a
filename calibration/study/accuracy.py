"""How well versions of one model label the same images, against the truth and against FP32."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from emca.errors import UserError
from runtime.backends import CPU_BACKENDS, Backend, ModelFile, choose
from runtime.backends.onnx_runtime import OnnxRuntimeBackend
from runtime.evaluate import predict
from segdata.metrics import ConfusionMatrix
from segdata.samples import Sample


@dataclass(frozen=True)
class Score:
    """What one version of the model did on the images.

    Attributes:
        miou: against the truth, 0..1; nan where no pixel counts.
        agreement: share of pixels labelled as by the FP32 file, 0..1.
        iou: per class, 0..1; None where a class is absent.
    """

    miou: float
    agreement: float
    iou: list[float | None]


def judging_backend(backend: str) -> str:
    """The name of the backend; UserError unless it is installed and runs ONNX files on the CPU."""
    name = choose(backend)
    if name not in CPU_BACKENDS:
        raise UserError(
            f"--backend={backend} cannot judge here; take auto or {', '.join(CPU_BACKENDS)}"
        )
    return name


class Judge:
    """Scores versions of one model on the same labelled images, on one CPU backend.

    Attributes:
        backend: which one.
        reference: the score of the FP32 file; its agreement is 1.
        samples: the images.
    """

    def __init__(
        self, source: ModelFile, samples: Sequence[Sample], *, backend: str, threads: int = 0
    ) -> None:
        """Label every image with the FP32 file.

        Args:
            source: the FP32 file.
            samples: images with labels, kept in memory.
            backend: one of CPU_BACKENDS, or "auto".
            threads: CPU threads, 0 for every core.

        Raises:
            UserError: a backend that is not for this, or an image without a label.
        """
        self.backend = judging_backend(backend)
        self.samples = samples
        self._source, self._threads = source, threads
        self._labels: list[NDArray[np.uint8]] = []
        for sample in samples:
            if sample.label is None:
                raise UserError(f"{sample.name} has no label to judge by; give labelled images")
        self._labels = self._label(self.load(source.proto))
        self.reference = self._score(self._labels)
        if np.isnan(self.reference.miou):
            raise UserError(
                f"no pixel of the {len(samples)} images to judge by counts: their labels hold "
                f"nothing but {source.card.ignore_index}; give other data"
            )

    def load(self, model: ModelProto) -> Backend:
        """Put a version of the model into the backend; UserError where it does not load."""
        file = dataclasses.replace(self._source, proto=model)
        if self.backend == "openvino":
            from runtime.backends.ov.backend import OpenVinoBackend

            return OpenVinoBackend(file, threads=self._threads)
        return OnnxRuntimeBackend(file, threads=self._threads)

    def score(self, backend: Backend) -> Score:
        """Label every image with a loaded version."""
        return self._score(self._label(backend))

    def _label(self, backend: Backend) -> list[NDArray[np.uint8]]:
        return [predict(backend, sample.image) for sample in self.samples]

    def _score(self, labels: Sequence[NDArray[np.uint8]]) -> Score:
        card = self._source.card
        matrix = ConfusionMatrix(len(card.classes), card.ignore_index)
        same = pixels = 0
        for sample, ours, reference in zip(self.samples, labels, self._labels, strict=True):
            assert sample.label is not None  # see __init__
            matrix.update(sample.label, ours)
            same += int(np.count_nonzero(ours == reference))
            pixels += ours.size
        return Score(matrix.miou, same / max(pixels, 1), matrix.to_dict()["iou"])
