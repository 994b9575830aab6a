"""The reports of runtime.bench beside its summary: files, layers, outputs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from runtime.backends import Backend
from runtime.results.output import json_output
from runtime.timing.latency import Timing
from runtime.timing.layer_profile import (
    info_document,
    info_text,
    output_entries,
    profile_entries,
    profile_text,
    profiled,
)


class Reports:
    """Claims the places of all files on entering; they take their names on leaving.

    Attributes:
        write_times, write_table: take the content of --exportTimes and --exportTable.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        """`args`: of `bench_parser`."""
        self._args = args
        self._stack = ExitStack()

    def __enter__(self) -> Reports:
        with ExitStack() as stack:
            names = ("Times", "Table", "Profile", "LayerInfo", "Output")
            self.write_times, self.write_table, self._profile, self._info, self._output = (
                stack.enter_context(json_output(getattr(self._args, f"export{name}")))
                for name in names
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> bool | None:
        return self._stack.__exit__(kind, error, where)

    def layers(
        self,
        backends: Mapping[str, Backend],
        batches: Mapping[str, NDArray[np.uint8]],
        timings: Mapping[str, Timing],
    ) -> None:
        """What is asked for of layers and outputs.

        Raises:
            UserError: a backend cannot tell its layers.
        """
        args = self._args
        if args.dumpLayerInfo or args.exportLayerInfo:
            infos = {key: one.layer_info(batches[key]) for key, one in backends.items()}
            if args.dumpLayerInfo:
                for key, info in infos.items():
                    print(f"\n{key}: {info_text(info)}")
            self._info(info_document(infos))
        if args.dumpProfile or args.exportProfile:
            profiles = {
                key: profiled(
                    one,
                    batches[key],
                    duration_s=args.duration,
                    iterations=args.iterations,
                    ms=timings[key].median,
                )
                for key, one in backends.items()
            }
            if args.dumpProfile:
                for key, times in profiles.items():
                    print(f"\n{key}: {profile_text(times)}")
            self._profile(profile_entries(profiles))
        if args.exportOutput:
            outputs = {key: one.infer(batches[key]) for key, one in backends.items()}
            self._output(output_entries(outputs))
