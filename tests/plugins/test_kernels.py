"""The CUDA kernels, compiled unchanged for the CPU, against the NumPy reference.

Threads are fibers there and tensor cores are software (tests/plugins/emulator), under the address
and undefined-behaviour sanitizers. What a GPU alone can show, `make gpu-check` does.
"""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from plugins.reference import prototype_attention

EMULATOR = Path(__file__).with_name("emulator")
KERNELS = Path(__file__).parents[2] / "plugins" / "cuda"
SANITIZERS = "address,undefined"
SUPPORTED_HEADS = (16, 32, 64)  # channels of a head that the tensor-core kernel takes


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    if not shutil.which("g++"):
        pytest.skip("g++ is not installed")
    target = tmp_path_factory.mktemp("emulator") / "main"
    sources = [EMULATOR / "main.cpp", EMULATOR / "emulator.cpp"]
    flags = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    flags += [f"-fsanitize={SANITIZERS}", f"-fno-sanitize-recover={SANITIZERS}"]
    subprocess.run(
        ["g++", *flags, "-I", EMULATOR, "-I", KERNELS, "-x", "c++", *sources, "-o", target],
        check=True,
        timeout=300,
    )
    return target


@pytest.fixture(scope="session")
def emulate(program):
    def run(query, feature, mask_logits, heads, *, multiprocessors=1, backwards=False):
        """attended, prototype and the number of tensor-core products."""
        batch, queries, channels = query.shape
        sizes = (batch, queries, feature.shape[1], channels, heads)
        words = [int(query.dtype == np.float16), *sizes, multiprocessors, int(backwards)]
        done = subprocess.run(
            [program, *map(str, words)],
            input=b"".join(x.tobytes() for x in (query, feature, mask_logits)),
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr.decode()
        outputs = np.frombuffer(done.stdout, query.dtype).reshape(2, *query.shape)
        return outputs[0], outputs[1], int(done.stderr.split()[-1])

    return run


def random_inputs(seed, dtype, batch, queries, positions, channels, heads):
    """Unit vectors per head; mask logits with some rows wholly masked."""
    rng = np.random.default_rng(seed)
    split = [
        rng.standard_normal((batch, n, heads, channels // heads)) for n in (queries, positions)
    ]
    query, feature = (
        (x / np.linalg.norm(x, axis=-1, keepdims=True)).reshape(batch, -1, channels).astype(dtype)
        for x in split
    )
    mask = rng.standard_normal((batch, queries, positions)) - rng.uniform(-2, 2)
    mask[:, 1::3] = -1 - np.abs(mask[:, 1::3])
    return query, feature, mask.astype(dtype)


def assert_same_choice(prototype, inputs, heads, tolerance):
    """The reference's prototypes, or others that are visible and as similar up to `tolerance`."""
    query, feature, mask = inputs
    expected = prototype_attention(*inputs, heads)[1]
    query, feature, prototype, expected = (
        x.reshape(*x.shape[:2], heads, -1).astype(np.float64)
        for x in (query, feature, prototype, expected)
    )
    for b, m, h in np.argwhere((prototype != expected).any(-1)):
        visible = mask[b, m] >= 0
        visible = visible if visible.any() else ~visible
        similarity = feature[b, :, h] @ query[b, m, h]
        chosen = (feature[b, :, h] == prototype[b, m, h]).all(-1) & visible
        assert chosen.any(), f"batch {b}, query {m}, head {h}: no visible feature"
        assert similarity[visible].max() - similarity[chosen].max() < tolerance


CASES = [  # batch, queries, positions, channels, heads
    (1, 100, 256, 256, 8),
    (2, 37, 130, 128, 8),
    (1, 16, 64, 64, 4),
    (3, 1, 1, 32, 2),
    (1, 5, 63, 128, 2),
    (1, 17, 65, 192, 3),
    (2, 3, 200, 320, 10),
    (1, 140, 7, 512, 16),
    (1, 7, 129, 24, 8),
    (1, 9, 70, 512, 1),
    (2, 33, 66, 40, 5),
    (1, 2, 300, 1, 1),
]


@pytest.mark.parametrize("sizes", CASES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_random_shapes_match_the_reference(emulate, sizes, dtype):
    inputs = random_inputs(sum(sizes), dtype, *sizes)
    attended, prototype, products = emulate(*inputs, sizes[-1])
    assert_same_choice(prototype, inputs, sizes[-1], 1e-3 if dtype == np.float16 else 1e-6)
    np.testing.assert_allclose(attended, inputs[0] * prototype, rtol=1e-3, atol=1e-7)
    tensor_cores = dtype == np.float16 and sizes[3] // sizes[4] in SUPPORTED_HEADS
    assert (products > 0) == tensor_cores


@pytest.mark.parametrize("multiprocessors", [1, 13, 132])
@pytest.mark.parametrize("backwards", [False, True])
def test_neither_the_cut_nor_the_order_of_threads_matters(emulate, multiprocessors, backwards):
    inputs = random_inputs(5, np.float16, 2, 70, 150, 96, 3)
    base = emulate(*inputs, 3)
    other = emulate(*inputs, 3, multiprocessors=multiprocessors, backwards=backwards)
    np.testing.assert_array_equal(other[0], base[0])
    np.testing.assert_array_equal(other[1], base[1])


def exact_inputs(dtype, queries, positions, channels):
    """Small integers over eight: every sum is exact in any order, and equal ones abound."""
    rng = np.random.default_rng(7)
    query = (rng.integers(-1, 2, (1, queries, channels)) / 8).astype(dtype)
    feature = (rng.integers(-1, 2, (1, positions, channels)) / 8).astype(dtype)
    return query, feature


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_lowest_position_wins_ties_within_and_across_chunks(emulate, dtype):
    query, feature = exact_inputs(dtype, 20, 200, 32)
    query[:, :, 0] = 0
    feature[:, :, 0] = np.arange(200) / 256  # tells equal features apart
    feature[0, 100:, 1:] = feature[0, :100, 1:]
    mask = np.zeros((1, 20, 200), dtype)
    mask[0, 1, :70] = -1
    mask[0, 2, :199] = -1
    mask[0, 3] = -1
    _, prototype, _ = emulate(query, feature, mask, 2)
    np.testing.assert_array_equal(prototype, prototype_attention(query, feature, mask, 2)[1])
    assert prototype[0, 2, 0] == feature[0, 199, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_zero_of_either_sign_is_one_similarity(emulate, dtype):
    query = np.zeros((1, 1, 16), dtype)
    query[0, 0, 0] = -1
    feature = np.zeros((1, 130, 16), dtype)
    feature[0, :, 1] = np.arange(130)  # similarity -0 everywhere
    feature[0, 100, 0] = -0.0  # and +0 here
    mask = np.zeros((1, 1, 130), dtype)
    assert emulate(query, feature, mask, 1)[1][0, 0, 1] == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_hidden_chunk_loses_however_similar_it_is(emulate, dtype):
    query = np.ones((1, 3, 32), dtype)
    feature = np.full((1, 192, 32), 0.5, dtype)
    feature[0, 150] = -4  # the only visible one
    mask = np.full((1, 3, 192), -1, dtype)
    mask[0, 0, 150] = 0
    mask[0, 1, 150] = -0.0
    _, prototype, _ = emulate(query, feature, mask, 2)
    assert (prototype[0, :2] == -4).all()
    assert (prototype[0, 2] == 0.5).all()  # masked everywhere: the best of all, at position 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_large_values_and_infinite_logits(emulate, dtype):
    rng = np.random.default_rng(8)
    query = (rng.standard_normal((1, 5, 64)) * 200).astype(dtype)
    feature = (rng.standard_normal((1, 90, 64)) * 200).astype(dtype)  # sums beyond FP16's range
    mask = rng.choice([-np.inf, np.inf, 1e-7, -1e-7], (1, 5, 90)).astype(dtype)
    attended, prototype, _ = emulate(query, feature, mask, 2)
    with np.errstate(over="ignore"):  # of the product, in FP16
        expected_attended, expected_prototype = prototype_attention(query, feature, mask, 2)
    np.testing.assert_array_equal(prototype, expected_prototype)
    np.testing.assert_array_equal(attended, expected_attended)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_values_that_are_no_numbers_choose_an_existing_feature(emulate, dtype):
    query = np.full((1, 2, 32), np.nan, dtype)
    feature = np.ones((1, 70, 32), dtype)
    mask = np.full((1, 2, 70), np.nan, dtype)
    _, prototype, _ = emulate(query, feature, mask, 2)
    assert (prototype == 1).all()


@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 1, 528, 1), (1, 1, 1, 10, 4), (0, 1, 1, 8, 2), (1, 1, 0, 8, 2), (1, 1, 1, 8, 0)],
)
def test_other_sizes_are_refused(program, sizes):
    words = ["1", *map(str, sizes), "1", "0"]
    done = subprocess.run([program, *words], input=b"\0" * 65536, capture_output=True, timeout=60)
    assert done.returncode == 4
    assert b"error 1" in done.stderr


def test_the_check_for_gpus_finds_them_right(program):
    done = subprocess.run([program, "check"], capture_output=True, timeout=300)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout.decode()
    assert {line["check"] for line in lines} == {"right"}
    assert {line["inputs"] for line in lines} == {"random", "exact"}
    assert sum(line["prototypes"] for line in lines) > 1000
