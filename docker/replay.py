"""Replay a Dockerfile without Docker: each RUN, COPY and USER on a Debian root of its own.

python docker/replay.py WORK [--file docker/Dockerfile.cpu] [--bind PATH]… [--keep]
                        [--model MODEL.onnx --image IMAGE]

For machines that have no container runtime, as root, with mmdebstrap (apt install mmdebstrap) and a
network that reaches Debian and PyPI. WORK gets the roots. --bind shows a file or folder of this
machine to the RUN steps, such as pip's configuration or certificates; nothing of it stays.

What differs from `docker build`: the base is Debian bookworm with its own Python 3.11 in place of
python:3.11-slim-bookworm, and steps share this machine's network.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

CONTEXT = Path(__file__).resolve().parents[1]
PASSED = ("PIP_", "SSL_CERT", "REQUESTS_CA", "CURL_CA", "http_proxy", "https_proxy", "no_proxy")
DEBIAN = ("python3", "python3-venv", "ca-certificates")
KNOWN = {"FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


@dataclass
class Stage:
    """A root and what the instructions before have set in it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    folder: str = "/"
    entry: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def read(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile as (word, rest); only those that the project uses.

    Raises:
        ValueError: another instruction.
    """
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    whole = "\n".join(lines).replace("\\\n", " ")
    found = []
    for line in whole.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() not in KNOWN:
            raise ValueError(f"{word} is not replayed")
        found.append((word.upper(), " ".join(rest.split())))
    return found


def context_files(folder: Path) -> list[Path]:
    """The files that .dockerignore leaves; the last rule that matches one decides."""
    rules = [
        (line.removeprefix("!"), line.startswith("!"))
        for line in (folder / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".git", ".venv", "build", "out")]
        for name in names:
            path = (Path(parent) / name).relative_to(folder)
            if _kept(path, rules):
                found.append(path)
    return sorted(found)


def _kept(path: Path, rules: list[tuple[str, bool]]) -> bool:
    kept = True
    parts = [str(Path(*path.parts[: n + 1])) for n in range(len(path.parts))]
    for pattern, keep in rules:
        bare = pattern.removeprefix("**/")
        names = path.parts if bare != pattern else parts
        if any(fnmatch.fnmatchcase(name, bare) for name in names):
            kept = keep
    return kept


class Replay:
    """Runs the instructions one after another."""

    def __init__(self, work: Path, binds: list[Path]) -> None:
        """`work` takes the roots, `binds` are shown to the RUN steps."""
        self.work, self.binds = work, binds
        self.stages: dict[str, Stage] = {}
        self.stage = Stage(work)

    def follow(self, word: str, rest: str) -> None:
        """One instruction."""
        began = time.monotonic()
        print(f"{word} {rest}", flush=True)
        getattr(self, f"_{word.lower()}")(rest)
        if word in ("FROM", "RUN", "COPY"):
            print(f"    {time.monotonic() - began:.1f} s", flush=True)

    def run(self, command: list[str], *, shown: tuple[Path, ...] = (), build: bool = False) -> None:
        """Run a command in the stage as its user; `build` steps get the binds and a network.

        Raises:
            CalledProcessError: it fails.
        """
        stage = self.stage
        binds = [*shown, *([*self.binds, Path("/etc/resolv.conf")] if build else [])]
        passed = {k: v for k, v in os.environ.items() if build and k.startswith(PASSED)}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        own = {"PATH": path, "HOME": _home(stage), **passed}
        variables = [f"{k}={v}" for k, v in {**own, **stage.environment}.items()]
        steps = [f"mount -t proc proc {stage.root}/proc", f"mount -t tmpfs tmpfs {stage.root}/tmp"]
        for bind in binds:
            target = shlex.quote(f"{stage.root}{bind}")
            make = "mkdir -p" if bind.is_dir() else f"mkdir -p $(dirname {target}); touch"
            steps.append(f"{make} {target}; mount --bind {shlex.quote(str(bind))} {target}")
        inner = f"cd {shlex.quote(stage.folder)} && exec {shlex.join(command)}"
        chroot = ["chroot", f"--userspec={stage.user}:{stage.user}", str(stage.root)]
        steps.append(f"exec {shlex.join([*chroot, 'env', '-i', *variables, 'sh', '-c', inner])}")
        whole = ["unshare", "--mount", "--pid", "--fork", "sh", "-ec", "\n".join(steps)]
        subprocess.run(whole, check=True)

    def _from(self, rest: str) -> None:
        image, _, name = rest.partition(" AS ")
        base = self.work / "base"
        if image in self.stages:
            base = self.stages[image].root
        elif not base.exists():
            _debian(base)
        root = self.work / (name or "final")
        shutil.rmtree(root, ignore_errors=True)  # of a run before; cp would copy into it
        subprocess.run(["cp", "-a", base, root], check=True)
        self.stage = self.stages[name] = Stage(root)

    def _run(self, rest: str) -> None:
        self.run(["sh", "-c", rest], build=True)

    def _copy(self, rest: str) -> None:
        words = rest.split()
        target = self.stage.root / self.stage.folder.lstrip("/") / words[-1].lstrip("/")
        if words[0].startswith("--from="):
            source = self.stages[words[0].removeprefix("--from=")].root / words[1].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", source, target], check=True)
            return
        if words[:-1] != ["."]:
            raise ValueError(f"COPY {rest} is not replayed")
        for path in context_files(CONTEXT):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CONTEXT / path, target / path)

    def _env(self, rest: str) -> None:
        for word in shlex.split(rest):
            key, _, value = word.partition("=")
            path = "/usr/local/bin:/usr/bin:/bin"
            self.stage.environment[key] = value.replace("$PATH", path)

    def _user(self, rest: str) -> None:
        self.stage.user = rest

    def _workdir(self, rest: str) -> None:
        self.stage.folder = rest
        (self.stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _healthcheck(self, rest: str) -> None:
        self.stage.health = json.loads(rest.partition("CMD ")[2])

    def _entrypoint(self, rest: str) -> None:
        self.stage.entry = json.loads(rest)

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)


def _home(stage: Stage) -> str:
    """The home of the stage's user."""
    users = (line.split(":") for line in (stage.root / "etc/passwd").read_text().splitlines())
    return next((user[5] for user in users if user[2] == stage.user), "/")


def _debian(root: Path) -> None:
    """Debian bookworm with Python, whose commands have the names of the official image."""
    packages = ",".join(DEBIAN)
    subprocess.run(
        ["mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", root], check=True
    )
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")


def fail(reason: str) -> NoReturn:
    """End with one line and exit code 2."""
    print(f"error: {reason}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description="Replay a Dockerfile on a Debian root.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--file", type=Path, default=CONTEXT / "docker" / "Dockerfile.cpu")
    parser.add_argument("--bind", type=Path, action="append", default=[])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the roots")
    args = parser.parse_args()
    if os.geteuid() != 0:
        fail("chroot needs root")
    if (args.model is None) != (args.image is None):
        fail("--model and --image go together; give both or neither")
    for path in (args.file, args.model, args.image):
        if path and not path.is_file():
            fail(f"{path}: no such file; check the path")
    for path in args.bind:
        if not path.exists():
            fail(f"--bind {path}: no such file or folder; check the path")
    args.work.mkdir(parents=True, exist_ok=True)
    replay = Replay(args.work.resolve(), [path.resolve() for path in args.bind])
    try:
        steps = read(args.file.read_text())
        for word in ("FROM", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
            if word not in dict(steps):
                fail(f"{args.file} has no {word}; give a file of docker/")
        for word, rest in steps:
            replay.follow(word, rest)
        _try(replay, args.model, args.image)
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        fail(str(error))
    finally:
        if not args.keep:
            for root in (replay.work / "base", *(s.root for s in replay.stages.values())):
                shutil.rmtree(root, ignore_errors=True)


def _try(replay: Replay, model: Path | None, image: Path | None) -> None:
    """The command of the image, its health check and, with a model, an inference."""
    stage = replay.stage
    print(f"as user {stage.user}: {stage.entry} {replay.command}, then the health check")
    replay.run([*stage.entry, *replay.command])
    replay.run(stage.health)
    if model and image:
        files = (model.resolve(), image.resolve())
        replay.run([*stage.entry, "infer", *map(str, files), "-o", "/data/out"], shown=files)
        subprocess.run(["find", stage.root / "data", "-type", "f", "-ls"], check=True)
    subprocess.run(["du", "-sh", *(s.root for s in replay.stages.values())], check=True)


if __name__ == "__main__":
    main()
