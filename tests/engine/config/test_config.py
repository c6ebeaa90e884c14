from typing import Any

import pytest
import yaml

from engine.config.config import read_command_line, resolve
from engine.config.options import section_options
from engine.config.yaml_files import Source, dump, flatten, nest, read_config_file
from engine.contract.renamed import present_names
from engine.errors import UsageError
from engine.training.assemble import facts_for
from project.data import MNISTDataModule
from project.tasks import TASKS, LitClassifier

OF_CLASSIFY = pytest.mark.task("classify")


def resolved(*argv, files=()):
    sources = [Source(f"file {i}", flatten(content)) for i, content in enumerate(files)]
    return resolve([*sources, Source("command line", read_command_line(argv).flags)])


def test_spellings_of_a_flag_are_the_same():
    lines = [["--max-epochs", "3"], ["--max_epochs", "3"], ["--max_epochs=3"], ["--max-epochs=3"]]
    assert [read_command_line(line).flags for line in lines] == [{"max_epochs": "3"}] * 4


def test_a_section_flag_is_its_name_and_a_flag_alone_means_true():
    flags = read_command_line(["--backbone", "mlp", "--fast_dev_run", "--data.download", "false"]).flags
    assert flags == {"backbone.name": "mlp", "fast_dev_run": True, "data.download": "false"}


def test_negative_numbers_are_values():
    assert read_command_line(["--max_epochs", "-1"]).flags == {"max_epochs": "-1"}


def test_values_get_their_types():
    config, _ = resolved(
        "--backbone.widths", "[4,8]", "--optim.lr", "1e-3", "--data.download", "false", "--max_epochs", "7",
        "--gradient_clip_val", "1.0", "--limit_train_batches", "10", "--devices", "2", "--fast_dev_run",
    )  # fmt: skip
    assert config["backbone"]["widths"] == [4, 8] and config["optim"]["lr"] == 0.001
    assert config["data"]["download"] is False and config["max_epochs"] == 7 and config["fast_dev_run"] is True
    assert config["gradient_clip_val"] == 1.0 and type(config["limit_train_batches"]) is int
    assert resolved("--backbone.widths", "4,8")[0]["backbone"]["widths"] == [4, 8]
    assert resolved("--backbone.widths", "4")[0]["backbone"]["widths"] == [4]
    mixed = resolved("--devices", "0,1", "--max_time", "{days: 1}", "--data.root", "3", files=[{"devices": [0]}])[0]
    assert (mixed["devices"], mixed["max_time"], mixed["data"]["root"]) == ("0,1", {"days": 1}, "3")
    assert resolved("--max_time", "00:12:00:00", "--name", "null")[0]["name"] is None
    for classes in ("left hand,right", '["left hand", "right"]'):
        config, _ = resolved("--data", ".", "--data.classes", classes)
        assert config["data"]["classes"] == ["left hand", "right"]


def test_flags_win_over_files_and_later_files_over_earlier_ones():
    files = [{"max_epochs": 1, "seed": 1, "optim": {"lr": 0.1}}, {"max_epochs": 2, "seed": 2}]
    config, _ = resolved("--max_epochs", "3", files=files)
    assert (config["max_epochs"], config["seed"], config["optim"]["lr"]) == (3, 2, 0.1)


def test_a_resolved_configuration_written_and_read_again_is_the_same(tmp_path):
    config, _ = resolved("--optim.lr", "1e-5", "--backbone", "mlp", "--devices", "auto")
    path = tmp_path / "config.yaml"
    path.write_text(dump(config))
    assert resolve([read_config_file(str(path))])[0] == config


@OF_CLASSIFY
def test_defaults_of_a_task_hold_for_its_own_backbone_only():
    cnn, mlp = resolved()[0], resolved("--backbone", "mlp")[0]
    assert cnn["backbone"]["padding"] == "valid" and cnn["head"]["grid"] == 4
    assert mlp["head"]["grid"] == 1 and mlp["max_epochs"] == cnn["max_epochs"] and mlp["data"] == cnn["data"]
    assert resolved("--backbone", "cnn")[0] == cnn


def test_own_data_has_defaults_of_its_own_below_what_is_asked_for():
    config, remarks = resolved("--task", "detect", "--data", ".")
    assert config["data"]["batch_size"] == 8 and config["backbone"]["widths"] == [16, 32, 64, 128, 256]
    assert config["max_epochs"] == 60 and remarks == [] and "max_digits" not in config["data"]
    given = resolved("--task", "detect", "--data", ".", "--max_epochs", "3", "--data.batch_size", "4")[0]
    assert given["max_epochs"] == 3 and given["data"]["batch_size"] == 4
    assert resolved("--task", "detect", "--data", "digits")[0] == resolved("--task", "detect")[0]


def test_options_of_a_head_that_own_data_do_not_change_stay():
    head = resolved("--task", "classify", "--data", ".")[0]["head"]
    assert head["hidden"] == 64 and head["grid"] == 1


def test_a_subclass_has_its_parents_options_and_its_own(monkeypatch):
    class Focal(LitClassifier):
        """A classifier with another loss.

        Args:
            gamma: how much less well-classified images count.
        """

        def __init__(self, *args: Any, gamma: float = 2.0, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    monkeypatch.setitem(TASKS, "focal", Focal)
    options = {option.key: option for option in section_options("task", "focal")}
    parents = {option.key for option in section_options("task", "classify")}
    assert options.keys() == parents | {"task.gamma"} and options["task.gamma"].help.startswith("how much less")
    assert options["task.label_smoothing"].help.startswith("share of the target")
    task = Focal(**facts_for(Focal, MNISTDataModule()), label_smoothing=0.2)
    assert task.hparams["label_smoothing"] == 0.2 and list(task.hparams["class_names"]) == list("0123456789")


@pytest.mark.parametrize("key", ["seed", "timeout_minutes", "wandb", "max_steps", "optim.lr", "data.batch_size"])
def test_nothing_is_no_value_where_there_has_to_be_one(key):
    with pytest.raises(UsageError, match=f"{key} is .*, got nothing"):
        resolved(files=[{key: None}])
    assert resolved(files=[{"max_time": None, "name": None, "optim.warmup": None}])


def test_names_of_classes_that_yaml_takes_for_other_values_want_quotes():
    with pytest.raises(UsageError, match="data.classes is .*; names such as no, yes, null and 12 need quotes"):
        resolved("--data", ".", files=[{"data": {"classes": [False, None, "cat"]}}])
    assert resolved("--data", ".", "--data.classes", '["cat, small", "no"]')[0]["data"]["classes"] == [
        "cat, small",
        "no",
    ]


def test_options_of_a_backbone_no_longer_chosen_are_dropped_with_a_remark():
    config, remarks = resolved("--backbone", "mlp", files=[{"backbone": {"name": "cnn", "padding": "same"}}])
    assert config["backbone"]["name"] == "mlp" and "padding" not in config["backbone"]
    assert remarks == ["backbone.padding of file 0 ignored: backbone is now mlp"]
    assert resolved("--backbone", "cnn", files=[{"backbone": "mlp"}])[1] == []  # nobody gave what the defaults say


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--acelerator", "gpu"], "unknown option --acelerator; did you mean --accelerator?"),
        (["--data.batchsize", "3"], "unknown option --data.batchsize for data mnist; did you mean --data.batch_size?"),
        (["--backbone.width", "3"], "unknown option --backbone.width for backbone cnn; did you mean"),
        (["--backbone", "resnet81"], "unknown backbone 'resnet81'; did you mean resnet18?"),
        pytest.param(["--data", "minst"], "unknown data 'minst'; did you mean mnist?", marks=OF_CLASSIFY),
        pytest.param(["--task", "clasify"], "unknown task 'clasify'; did you mean classify?", marks=OF_CLASSIFY),
        (["--optim", "admw"], "unknown optim 'admw'; did you mean adamw?"),
        (["--optim.lr", "abc"], "optim.lr is NUMBER, got 'abc'"),
        (["--optim.lr", "nan"], "optim.lr is NUMBER, got 'nan'"),
        (["--max_epochs", "many"], "max_epochs is INT, got 'many'"),
        (["--max_epochs"], "max_epochs is INT, got True"),
        (["--wandb", "maybe"], "wandb is auto|online|offline|disabled, got 'maybe'"),
        (["--callbacks", "true"], "--callbacks is not an option here"),
        (["--optim.momentum", "0.9"], "unknown option --optim.momentum for optim adamw"),
        (["--lr", "1"], "unknown option --lr; here it is --optim.lr"),
        (["--batch-size", "1"], "unknown option --batch_size; here it is --data.batch_size"),
        (["--task", "classify", "--dropout", "1"], "here it is --backbone.dropout or --head.dropout"),
        (["--epochs", "1"], "here it is --max_epochs"),
        (["--gpus", "1"], "here it is --accelerator gpu, and --devices for how many"),
        (["--model", "cnn"], "here it is --backbone"),
        (["--dataset", "x"], "here it is --data"),
        (["--optimizer", "x"], "here it is --optim"),
        (["--workers", "2"], "here it is --data.num_workers"),
        (["--resume", "a.ckpt"], "resume is auto, got 'a.ckpt'; to resume from a file, give --ckpt_path"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_closest_right(argv, message):
    with pytest.raises(UsageError) as caught:
        resolved(*argv)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_print_config_is_true_or_false():
    assert read_command_line(["--print_config"]).print_config
    assert not read_command_line(["--print_config", "false"]).print_config
    with pytest.raises(UsageError, match="--print_config is true or false, got 'yes'"):
        read_command_line(["--print_config=yes"])


def test_arguments_that_are_no_flags_are_refused():
    with pytest.raises(UsageError, match="unexpected argument 'mnist'"):
        read_command_line(["--data.root", "x", "mnist"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- a\n- b", "holds a list"),
        ("max_epochs: 1\nmax_epochs: 2", "key 'max_epochs' is given twice"),
        ("optim:\n  lr: 1\n  lr: 2", "key 'lr' is given twice"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: [", "expected"),
        ("max_epochs: 1\nmax-epochs: 2", "max_epochs is given twice"),
        ("backbone: {widths: [4]}\nbackbone.widths: [8]", "backbone.widths is given twice"),
        ("? [1, 2]\n: 3", "unhashable"),
        ("seed: 1\nname: 2024-13-45", "line 2: '2024-13-45' is no timestamp"),
        ("seed: !!int abc", "line 1: 'abc' is no int"),
        ("seed: !!timestamp x", "'x' is no timestamp"),
        (f"seed: {'1' * 5000}", "is no int"),
        (f"seed: {'[' * 5000}", "nested too deeply"),
        ("a: &a [1, 2]\nb: [*a, *a]", r"line 2: aliases \(\*NAME\) are not supported"),
        ("a: {<<: {b: 1}}", "merge keys"),
        ("seed: \0", "special characters are not allowed"),
        ("#" * (2**20 + 1), "larger than 1 MiB"),
    ],
)
def test_configuration_files_that_make_no_sense(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_config_file(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_and_an_unknown_key_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no configuration file nowhere.yaml"):
        read_config_file("nowhere.yaml")
    with pytest.raises(UsageError, match=r"file 0: unknown option key optim.lrr .*; did you mean optim.lr\?"):
        resolved(files=[{"optim": {"lrr": 1}}])
    with pytest.raises(UsageError, match="file 0: optim.lr is NUMBER"):
        resolved(files=[{"optim": {"lr": {"class_path": "subprocess.Popen"}}}])
    with pytest.raises(UsageError, match="file 0: profiler is TEXT"):
        resolved(files=[{"profiler": {"class_path": "subprocess.Popen"}}])


def test_numbers_in_files_may_have_exponents(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("optim: {lr: 1e-3}\nbackbone: mlp\n")
    config, _ = resolve([read_config_file(str(path))])
    assert config["optim"]["lr"] == 0.001 and config["backbone"]["name"] == "mlp"
    path.write_text("data: {name: ., image_size: 32}\n")
    assert resolve([read_config_file(str(path))])[0]["data"]["image_size"] == [32]


def test_flat_and_nested_are_inverses():
    config, _ = resolved()
    assert nest(flatten(config)) == config
    assert yaml.safe_load(dump(config)) == config


def test_former_names_of_options_are_taken_with_a_note(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("task: {name: detect, least_score: 0.4}\nhead: {most: 7}\n")
    config, remarks = resolve([read_config_file(str(path)), Source("command line", {"data.most_digits": "3"})])
    assert (config["task"]["score_threshold"], config["head"]["max_detections"]) == (0.4, 7)
    assert config["data"]["max_digits"] == 3
    assert remarks == [
        "task.least_score is now task.score_threshold",
        "head.most is now head.max_detections",
        "--data.most_digits is now --data.max_digits",
    ]


def test_what_a_checkpoint_records_under_former_names_is_taken_silently():
    recorded = Source("run a", {"task.name": "detect", "head.most": 7}, is_quiet=True)
    config, remarks = resolve([recorded, Source("command line", {"head.max_detections": "8"})])
    assert config["head"]["max_detections"] == 8 and remarks == []


def test_an_option_under_both_its_names_is_an_error():
    both = {"task.name": "detect", "head.most": "7", "head.max_detections": "8"}
    with pytest.raises(
        UsageError, match="command line: --head.most is now --head.max_detections: give only the new one"
    ):
        resolve([Source("command line", both)])


def test_a_flag_of_predict_is_found_among_the_options_of_training():
    with pytest.raises(UsageError, match="unknown option --least_score; here it is --task.score_threshold"):
        resolve([Source("command line", {"task.name": "detect", "least_score": "0.4"})])


def test_an_own_part_keeps_an_option_of_a_former_name():
    assert present_names({"most": 3}, ["most", "max_detections"], "head") == {"most": 3}
    assert present_names({"most": 3}, ["width"], "head") == {"most": 3}
    assert present_names({"most": 3}, ["max_detections"], "head") == {"max_detections": 3}
