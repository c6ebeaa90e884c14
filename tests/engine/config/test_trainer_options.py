from engine.config import trainer_options
from engine.config.options import Option
from engine.config.trainer_flags import FLAGS


def test_recorded_flags_are_the_installed_trainers():
    recorded = {name: Option(name, *rest) for name, *rest in FLAGS}
    installed = {option.key: option for option in trainer_options.installed()}
    changed = [
        f"{name}: recorded {recorded.get(name)}, installed {installed.get(name)}"
        for name in recorded | installed
        if recorded.get(name) != installed.get(name)
    ]
    assert not changed, "\n".join([*changed, "run python -m engine.config.trainer_options"])


def test_the_command_writes_what_is_recorded(tmp_path, monkeypatch):
    before = trainer_options.RECORD.read_text()
    monkeypatch.setattr(trainer_options, "RECORD", tmp_path / "flags.py")
    trainer_options.main()
    assert trainer_options.RECORD.read_text() == before
