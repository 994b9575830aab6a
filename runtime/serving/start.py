"""What starts Triton on a repository: start.sh and the libraries that its engines need."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import plugins
from emca.errors import UserError
from emca.files import atomic_path
from plugins.library import ENVIRONMENT, FILE_NAME

START = "start.sh"
# Triton opens the libraries of plugins= and leaves it to them to register, which FILE_NAME, made
# for TensorRT's own loader, does not do.
REGISTRAR = "libemca_triton.so"
VERSION_COMPATIBLE = "version_compatible"  # parameter of such an engine's configuration

SCRIPT = """\
#!/bin/sh
# Starts Triton Inference Server on this folder; further options are passed on.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec tritonserver --model-repository="$here"{options} "$@"
"""


def find_libraries(engine: Path) -> list[Path]:
    """The plugin's library and the one that registers it in Triton.

    Args:
        engine: which needs them; for the error.

    Raises:
        UserError: one is missing.
    """
    library = plugins.find()
    if library is None:
        raise UserError(
            f"{engine} needs {FILE_NAME}; build it with make plugin or name it with "
            f"{ENVIRONMENT}=/path/to/{FILE_NAME}"
        )
    registrar = library.with_name(REGISTRAR)
    if not registrar.is_file():
        raise UserError(f"{registrar} is missing; build both libraries with make plugin")
    return [library, registrar]


def copy_libraries(repository: Path, libraries: Sequence[Path]) -> None:
    """Put what `find_libraries` found into the repository."""
    for library in libraries:
        with atomic_path(repository / library.name) as temporary:
            shutil.copyfile(library, temporary)


def write_start(repository: Path) -> str:
    """Write start.sh for all models of the repository.

    Returns:
        The options of tritonserver beside the repository, such as
        `--backend-config=tensorrt,plugins=REPO/libemca_triton.so`, as a shell takes them.
    """
    options = _options(repository)
    with atomic_path(repository / START) as temporary:
        text = SCRIPT.format(options="".join(f" \\\n    {option}" for option in options))
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
    told = (option.replace("$here", str(repository)).replace('"', "") for option in options)
    return shlex.join(told)


def _options(repository: Path) -> list[str]:
    """What the models in the repository need, those of earlier calls too."""
    options = []
    if (repository / REGISTRAR).is_file():
        options.append(f'--backend-config=tensorrt,plugins="$here/{REGISTRAR}"')
    configs = (path.read_text(encoding="utf-8") for path in repository.glob("*/config.pbtxt"))
    if any(f'key: "{VERSION_COMPATIBLE}"' in config for config in configs):
        options.append("--backend-config=tensorrt,version-compatible=true")
    return options
