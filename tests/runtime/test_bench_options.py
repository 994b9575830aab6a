import pytest

from emca.errors import UserError
from runtime.bench_options import bench_parser, check_bench, refuse_others
from runtime.timing.trtexec import OTHERS, REST


def read(*words):
    refuse_others(words)
    args = bench_parser("").parse_args(list(words))
    check_bench(args)
    return args


def refused(*words):
    with pytest.raises(UserError) as error:
        read(*words)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_defaults_are_those_of_trtexec():
    args = read("--onnx=m.onnx")
    assert (args.iterations, args.warmUp, args.duration) == (10, 200, 3)
    assert (args.avgRuns, args.infStreams, args.percentile) == (10, 1, [90, 95, 99])
    assert not args.noCudaGraph
    assert not args.includeDataTransfers


def test_an_engine_is_given_either_way():
    assert read("--loadEngine=m.engine").onnx == read("--onnx=m.engine").onnx


def test_shapes_alone_are_built_for(tmp_path):
    words = ("--onnx=m.onnx", "--backend=tensorrt", "--shapes=image:4x48x64x3")
    assert read(*words).shapes == [("--shapes", "image:4x48x64x3")]
    given = ("--maxShapes=image:8x48x64x3",)
    assert [option for option, _ in read(*words, *given).shapes] == ["--maxShapes"]
    assert read("--onnx=m.onnx", "--shapes=image:4x48x64x3").shapes is None


ENGINES = ("--onnx=m.onnx", "--backend=tensorrt")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--best"], "--best: trtexec has it, this command does not; formats are made from the"),
        (["--tacticSources=+CUDNN"], "trtexec has it, this command does not; leave it out"),
        ([], "no model is given; add --onnx=MODEL.onnx or --loadEngine="),
        (["--onnx=a.onnx", "--loadEngine=b.engine"], "are two models; give one"),
        (["--loadEngine=a.onnx"], "is no .engine or .plan; give --onnx=a.onnx"),
        (["--onnx=m.onnx", "--avgRuns=0"], "--avgRuns=0 is too small; take 1"),
        (["--onnx=m.onnx", "--infStreams=0"], "--infStreams=0 is too small"),
        (["--onnx=m.onnx", "--warmUp=-1"], "--warmUp=-1 is too small"),
        (["--onnx=m.onnx", "--duration=-1"], "--duration=-1 is too small; take 0 or more"),
        (["--onnx=m.onnx", "--duration=nan"], "--duration=nan is no number"),
        (["--onnx=m.onnx", "--duration=inf"], "--duration=inf is no number"),
        ([*ENGINES, "--device=-1"], "--device=-1 is too small"),
        (["--onnx=m.onnx", "--device=0"], "--device picks a GPU; leave it out, or add --backend="),
        (["--onnx=m.onnx", "--noCudaGraph"], "--noCudaGraph is for engines; leave it out"),
        (["--onnx=m.onnx", "--includeDataTransfers"], "--includeDataTransfers is for engines"),
        (["--onnx=m.onnx", "--dynamicPlugins=p.so"], "--dynamicPlugins is for engines"),
        (["--onnx=m.onnx", "--saveEngine=e.engine"], "--saveEngine is for engines"),
        (["--onnx=m.onnx", "--timingCacheFile=c"], "--timingCacheFile is for building engines"),
        (["--loadEngine=m.engine", "--versionCompatible"], "--versionCompatible is for building"),
        (["--loadEngine=m.engine", "--saveEngine=e.engine"], "is an engine already"),
        ([*ENGINES, "--saveEngine=e.trt"], "give the engine a name that ends in .engine"),
        ([*ENGINES, "--saveEngine=e.engine", "--fp16", "--int8"], "ask for two; leave one out"),
        (
            [*ENGINES, "--saveEngine=e.engine", "--exportTimes=e.engine"],
            "is an engine too",
        ),
        ([*ENGINES, "--exportTimes=m.engine"], "is an engine too"),
        ([*ENGINES, "--fp16", "--exportTable=m.fp16.engine.json"], "is the description of an"),
        (["--loadEngine=e.engine", "--exportTable=e.engine.json"], "is the description of the"),
        ([*ENGINES, "--timingCacheFile=c", "--exportTimes=c"], "is the timing cache too"),
        ([*ENGINES, "--dynamicPlugins=p.so", "--exportTimes=p.so"], "is a plugin library too"),
        (["--onnx=m.onnx", "--limit=5"], "--limit=5 counts images of --data; give both"),
        (
            ["--onnx=m.onnx", "--calibData=d"],
            "--calibData=d is for files that are made; add --int8",
        ),
        (["--loadEngine=e.engine", "--threads=4"], "--threads=4 are a CPU's, engines have none"),
        (["--onnx=m.onnx", "--threads=-3"], "--threads=-3 is too small; take 0 or more"),
        (["--onnx=m.onnx", "--threads"], "--threads: trtexec has it, this command does not; each"),
        (["--onnx=m.onnx", "--plugins=p.so"], "give --dynamicPlugins=p.so"),
        (["--onnx=m.onnx", "--plugins", "p.so"], "give --dynamicPlugins=p.so"),
        (["--onnx=m.onnx", "--maxShapesCalib=x"], "give the images: --calibData=NAME:PATH"),
        (["--onnx=m.onnx", "--exportTimes=m.onnx"], "--exportTimes=m.onnx is the model too"),
        (["--onnx=m.onnx", "--fp16", "--exportTimes=m.fp16.onnx"], "is the file of --fp16 too"),
        (["--onnx=m.onnx", "--infStreams=257"], "--infStreams=257 is too many; take 1 to 256"),
        (["--onnx=m.onnx", "--exportTable=x", "--exportProfile=./x"], "is --exportTable too"),
        ([*ENGINES, "--buildOnly", "--dumpProfile"], "measures nothing; leave --dumpProfile out"),
    ],
)
def test_what_contradicts_itself_is_one_line(words, message):
    assert message in refused(*words)


def test_gpus_are_picked_for_onnxruntime_too():
    assert read("--onnx=m.onnx", "--backend=onnxruntime-cuda", "--device=1").device == 1


@pytest.mark.parametrize("option", OTHERS)
def test_options_of_trtexec_that_are_not_taken_say_what_to_do(option):
    word = f"{option}=x"
    error = refused("--onnx=m.onnx", word)
    assert error.startswith(f"{word}: ")
    assert error.endswith(OTHERS[option])


def test_no_option_is_both_taken_and_refused():
    assert not (OTHERS.keys() | REST) & bench_parser("")._option_string_actions.keys()


@pytest.mark.parametrize("flag", ["fp16", "int8", "verbose", "dumpProfile", "dumpLayerInfo"])
def test_switches(flag):
    assert getattr(read("--onnx=m.onnx", f"--{flag}"), flag) is True
