import pytest

from emca.errors import UserError
from segdata.classes import ADE20K, CITYSCAPES
from train.config import ModelConfig
from train.sources.imported import Imported
from train.sources.keymap import Conversion
from train.sources.taxonomies import check_task, input_size, taxonomy

# `id2label` of published ADE20K models, where it differs from the benchmark's first synonyms.
ADE_LABELS = {"bed": "bed ", "television": "television receiver"}


def imported(classes, architecture="mask2former", names=None):
    return Imported("kind", ModelConfig(architecture=architecture), classes, Conversion(), names)


@pytest.mark.parametrize(
    ("source", "task"),
    [
        ("facebook/mask2former-swin-tiny-coco-panoptic", "a panoptic"),
        ("zoo/maskformer2_R50_Instance.pkl", "an instance"),
    ],
)
@pytest.mark.parametrize("architecture", ["mask2former", "pidnet"])
def test_other_tasks_are_refused_by_name(source, task, architecture):
    with pytest.raises(UserError, match=rf"{source}' is {task} .*\(19 classes\); .*semantic ones"):
        check_task(source, imported(19, architecture))


@pytest.mark.parametrize(
    ("classes", "task"),
    [
        (133, "a COCO panoptic"),
        (80, "a COCO instance"),
        (100, "an ADE20K instance"),
        (8, "a Cityscapes instance"),
        (40, "a YouTube-VIS video instance"),
    ],
)
@pytest.mark.parametrize("architecture", ["mask2former", "maskformer"])
def test_mask_classifiers_for_other_tasks_are_refused_by_class_count(classes, task, architecture):
    message = rf"'a\.pkl' is {task} segmentation .*\({classes} classes.*config\.json names them"
    for names in (None, tuple(f"LABEL_{i}" for i in range(classes))):
        with pytest.raises(UserError, match=message):
            check_task("a.pkl", imported(classes, architecture, names))


@pytest.mark.parametrize(
    ("classes", "first"),
    [
        (133, ("person", "bicycle", "car")),
        (80, ("person", "bicycle", "car")),
        (100, ("bed", "windowpane, window", "cabinet")),
        (8, ("Person", "rider", "car")),
        (40, ("person", "giant_panda", "lizard")),
        (40, ("airplane", "bear", "bird")),
    ],
)
def test_only_the_names_of_the_other_task_are_refused(classes, first):
    rest = tuple(f"thing {i}" for i in range(classes - 3))
    with pytest.raises(UserError, match=r"supported are semantic ones.*Cityscapes \(19\)$"):
        check_task("a", imported(classes, names=first + rest))
    check_task("a", imported(classes, names=rest + first))


def test_semantic_checkpoints_pass_and_folders_above_do_not_matter():
    check_task("panoptic/instance/model.pkl", imported(150))
    check_task("ade-semantic", imported(19))
    for classes in (8, 40, 80, 100, 133):  # one that classifies pixels knows nothing else
        check_task("model.pt", imported(classes, "pidnet"))


@pytest.mark.parametrize("known", [ADE20K, CITYSCAPES])
def test_data_sets_are_known_by_their_number_of_classes(known):
    assert taxonomy(len(known.classes), None) is known
    unnamed = tuple(f"LABEL_{i}" for i in range(len(known.classes)))
    assert taxonomy(len(known.classes), unnamed) is known


def test_data_sets_are_known_by_their_names():
    assert taxonomy(150, tuple(ADE_LABELS.get(name, name) for name in ADE20K.classes)) is ADE20K
    assert taxonomy(19, tuple(name.title() for name in CITYSCAPES.classes)) is CITYSCAPES
    synonyms = tuple(f"{name}, {name} thing; else" for name in CITYSCAPES.classes)
    assert taxonomy(19, synonyms) is CITYSCAPES


def test_as_many_classes_in_another_order_are_no_known_data_set():
    names = ADE20K.classes[1:] + ADE20K.classes[:1]
    found = taxonomy(150, names)
    assert (found.name, found.classes) == ("imported", names)
    assert found.palette != ADE20K.palette


def test_others_keep_their_names_or_get_numbers_and_colours_that_differ():
    named = taxonomy(3, ("cat", "dog", "rest"))
    assert named.classes == ("cat", "dog", "rest")
    numbered = taxonomy(12, tuple(f"LABEL_{i}" for i in range(12)))
    assert numbered.classes[:2] == ("class 0", "class 1")
    assert len(set(numbered.palette)) == 12


def test_input_sizes_are_those_of_the_benchmarks():
    assert input_size("cityscapes") == (1024, 2048)
    assert input_size("ade20k") == input_size("imported") == (512, 512)
