import pytest

from emca.cli import Parser
from emca.errors import UserError
from runtime.backends.engine_file import Profile
from runtime.engines.options import BuildOptions, add_build_options, build_options, profiles

OPEN = (None, 512, 1024, 3)


def shape(batch):
    return (batch, 512, 1024, 3)


def spec(batch):
    return f"image:{batch}x512x1024x3"


def read(*words, backend="tensorrt", model=OPEN):
    parser = Parser()
    add_build_options(parser)
    return build_options(parser.parse_args(list(words)), backend, model)


def refused(*words, **options):
    with pytest.raises(UserError) as error:
        read(*words, **options)
    return str(error.value)


def test_nothing_said_is_batch_one_and_the_builders_defaults():
    one = Profile(shape(1), shape(1), shape(1))
    assert read() == BuildOptions(backend="tensorrt", profiles=(one,))
    assert read(model=(4, 512, 1024, 3)).profiles == (Profile(shape(4), shape(4), shape(4)),)


@pytest.mark.parametrize(
    ("sides", "batches"),
    [
        ({"min": 1, "opt": 4, "max": 8}, (1, 4, 8)),
        ({"min": 1, "max": 8}, (1, 8, 8)),
        ({"opt": 4}, (4, 4, 4)),
        ({"max": 8}, (8, 8, 8)),
        ({"min": 2}, (2, 2, 2)),
        ({"min": 2, "opt": 3}, (2, 3, 3)),
        ({"opt": 3, "max": 5}, (3, 3, 5)),
    ],
)
def test_sides_left_out_come_from_their_neighbours_as_in_trtexec(sides, batches):
    (profile,) = read(*(f"--{side}Shapes={spec(n)}" for side, n in sides.items())).profiles
    assert (profile.minimum, profile.optimum, profile.maximum) == tuple(map(shape, batches))


def test_several_profiles():
    words = ["--profile=0", f"--maxShapes={spec(1)}", "--profile=1"]
    words += [f"--minShapes={spec(2)}", f"--maxShapes={spec(8)}"]
    first, second = read(*words).profiles
    assert first == Profile(shape(1), shape(1), shape(1))
    assert second == Profile(shape(2), shape(8), shape(8))
    assert "number profiles 0, 1" in refused("--profile=1", f"--maxShapes={spec(1)}")
    assert "--profile=1 has no shapes" in refused(
        "--profile=0", f"--maxShapes={spec(1)}", "--profile=1"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1x512x1024x3", "write --maxShapes=image:Nx512x1024x3"),
        ("picture:1x512x1024x3", "write --maxShapes=image:Nx512x1024x3"),
        ("image:0x512x1024x3", "write --maxShapes=image:Nx512x1024x3"),
        ("image:1x3x512x1024", "the model takes Nx512x1024x3; export it with another --size"),
        ("image:1x512x512x3", "the model takes Nx512x1024x3; export it with another --size"),
    ],
)
def test_a_shape_that_the_model_does_not_take(text, message):
    assert message in refused(f"--maxShapes={text}")


def test_a_fixed_batch_stays():
    text = refused(f"--maxShapes={spec(8)}", model=(1, 512, 1024, 3))
    assert "the model takes batches of 1 only; export it with --dynamic-batch" in text
    assert read(f"--maxShapes={spec(1)}", model=(1, 512, 1024, 3)).profiles[0].maximum[0] == 1


def test_batches_must_not_fall():
    text = refused(f"--minShapes={spec(4)}", f"--maxShapes={spec(2)}")
    assert text.startswith("profile 0: batch sizes 4, 2, 2 of --minShapes")
    text = refused(f"--maxShapes={spec(4)}", f"--maxShapes={spec(2)}")
    assert "--maxShapes is given twice; begin a further profile" in text


def test_other_values():
    options = read(
        *("--timingCacheFile=t.cache", "--memPoolSize=workspace:1.5G", "--noTF32"),
        *("--builderOptimizationLevel=5", "--versionCompatible"),
        *("--hardwareCompatibilityLevel=Ampere+", "--plugins=PrototypeAttention"),
    )
    assert options.timing_cache.name == "t.cache"
    assert options.workspace == 3 << 29
    assert (options.optimization_level, options.version_compatible, options.tf32) == (
        5,
        True,
        False,
    )
    assert options.hardware_compatibility == "ampere_plus"
    assert options.plugins == ("PrototypeAttention",)
    assert read("--memPoolSize=workspace:64").workspace == 64 << 20
    assert read("--no-plugin").plugins == ()
    for text in ("75", "7.5", "sm_75", "SM75"):
        assert read(f"--sm={text}", backend="tensorrt-rtx").compute_capability == "7.5"
    assert read("--sm=120", backend="tensorrt-rtx").compute_capability == "12.0"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--sm=75", "TensorRT builds for the GPU that it runs on"),
        ("--builderOptimizationLevel=6", "out of range; take 0 to 5"),
        ("--memPoolSize=1024", "write workspace:SIZE"),
        ("--memPoolSize=workspace:0", "write workspace:SIZE"),
        ("--memPoolSize=workspace:99999999999999999999G", "write workspace:SIZE"),
        ("--memPoolSize=", "write workspace:SIZE"),
        ("--sm=", "TensorRT builds for the GPU that it runs on"),
        ("--hardwareCompatibilityLevel=ampere", 'did you mean "ampere+"?'),
        ("--plugins=PrototypeAtention", 'did you mean "PrototypeAttention"?'),
        ("--plugins=libemca_plugin.so", "there are PrototypeAttention, "),
    ],
)
def test_a_wrong_value_is_named(word, message):
    text = refused(word)
    assert text.startswith(word)
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "word",
    [
        *("--timingCacheFile=t", "--builderOptimizationLevel=3"),
        *("--versionCompatible", "--hardwareCompatibilityLevel=ampere+"),
    ],
)
def test_what_tensorrt_rtx_does_not_have(word):
    text = refused(word, backend="tensorrt-rtx")
    assert text == f"{word.split('=')[0]} has no effect in TensorRT-RTX; leave it out"


def test_more_mistakes():
    assert "write a compute capability" in refused("--sm=turing", backend="tensorrt-rtx")
    assert "contradicts --no-plugin" in refused("--no-plugin", "--plugins=PrototypeAttention")
    assert '"tensorrt_rtx" builds no engines (did you mean "tensorrt-rtx"?)' in refused(
        backend="tensorrt_rtx"
    )


def test_profiles_without_a_parser():
    assert profiles([("--optShapes", spec(2))], OPEN)[0].maximum == shape(2)


def test_shapes_alone_stand_for_all_sides():
    (one,) = profiles([("--shapes", spec(4))], OPEN)
    assert one == Profile(shape(4), shape(4), shape(4))
    with pytest.raises(UserError, match="--shapes=x: write --shapes=image:Nx512x1024x3"):
        profiles([("--shapes", "x")], OPEN)


def test_plugin_libraries_are_named_by_their_content(tmp_path):
    library = tmp_path / "own.so"
    library.write_bytes(b"one")
    options = read(f"--dynamicPlugins={library}", f"--dynamicPlugins={library}")
    assert options.libraries == (library, library)
    before = options.settings()
    assert "libraries" not in read().settings()
    library.write_bytes(b"two")
    assert options.settings() != before
    assert "--dynamicPlugins=gone.so: no such file" in refused("--dynamicPlugins=gone.so")
