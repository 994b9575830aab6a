from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from emca.errors import UserError
from emca.files import atomic_path, sha256


def test_the_file_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model.fp16.onnx"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".onnx"
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"ha")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_half()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_no_output_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; give the name"), atomic_path(tmp_path):
        pass


def test_a_device_is_no_output_file() -> None:
    with (
        pytest.raises(UserError, match=r"/dev/null is no ordinary file"),
        atomic_path(Path("/dev/null")),
    ):
        pass
    assert Path("/dev/null").is_char_device()


def test_the_system_s_reason_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(OSError, match="No space") as caught, atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(target)
    with pytest.raises(FileNotFoundError) as missing, atomic_path(target) as temporary:
        temporary.read_bytes()
    assert missing.value.filename == str(target)


def test_sha256_reads_the_whole_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "x").write_bytes(data)
    assert sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()
