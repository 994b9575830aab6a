"""No command and no option is lost: commands.json lists what was there when this was written."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from emca.cli import Parser

COMMANDS = json.loads(Path(__file__).with_name("commands.json").read_text(encoding="utf-8"))


class Parsed(Exception):
    """Carries the parser of a command out of its `main`."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_keeps_its_options_and_arguments(command, monkeypatch):
    def stop(self, *args, **kwargs):
        raise Parsed(self)

    for name in ("parse_args", "parse_known_args", "parse_intermixed_args"):
        monkeypatch.setattr(Parser, name, stop)
    with pytest.raises(Parsed) as caught:
        import_module(command).main([])
    parser = caught.value.args[0]
    missing = {*COMMANDS[command]["options"]} - {*parser._option_string_actions}
    assert not missing
    positionals = [action.dest for action in parser._actions if not action.option_strings]
    assert positionals == COMMANDS[command]["positionals"]
