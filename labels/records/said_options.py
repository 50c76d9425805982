"""What was said to a stage, as it is typed, from the arguments that its run record keeps."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

NOT_AN_OPTION = {"work", "round", "strict", "device"}  # the last: where it ran, which may be another machine
OPTION_NAMES = {
    "keep_quality": "keep",
    "ignore_quality": "ignore",
    "min_size_pixels": "min-size",
    "learning_rate": "lr",
}
REPEATED = {"without", "detector"}  # one option for each value, rather than values with commas between


def said_options(arguments: Mapping[str, Any], usual: Mapping[str, Any]) -> list[str]:
    """Words for the shell, not quoted yet: options with values by name, then switches.

    Options that are off, empty or `usual` (name -> value) are left out.
    """
    words, switches = [], []
    for name, value in sorted(arguments.items()):
        if name in NOT_AN_OPTION or value is None or value is False or value in ("", [], (), {}):
            continue
        if isinstance(value, dict) or value == usual.get(name):
            continue  # a dict is no option's value: settings that the stage derived
        option = f"--{OPTION_NAMES.get(name, name).replace('_', '-')}"
        if value is True:
            switches.append(option)
        elif name in REPEATED and not isinstance(value, str):
            words += [word for item in value for word in (option, str(item))]
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
    return words + switches


def typed(words: Sequence[str]) -> str:
    """Words as they are typed after a command: quoted, each with a space before."""
    return "".join(f" {shlex.quote(word)}" for word in words)
