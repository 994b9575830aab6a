from runtime.comparison.formats import formats


def test_current_files_are_kept_and_outdated_ones_made_again(toys, makers):
    model = toys.model()
    files = {name: toys.derived(model, name) for name in ("fp16", "int8")}
    wanted = {"fp16": True, "int8": True, "calibration_data": None}
    assert list(formats(model, **wanted).values()) == [model, *files.values()]
    assert makers == []
    toys.model(noise=1)  # the model changes: what was made from it is outdated
    formats(model, **{**wanted, "calibration_data": "scenes::train"})
    assert [call[0] for call in makers] == ["fp16", "int8"]
    assert makers[1][1:] == (model, files["int8"], "scenes::train", 64)
