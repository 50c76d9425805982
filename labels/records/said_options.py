"""What was said to a stage, as it is typed, from the arguments that its run record keeps."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

REPEATED = {"--without", "--detector"}  # one option for each value, rather than values with commas between


def options_named(*names: str) -> dict[str, str]:
    """Argument -> option, of those that are called alike."""
    return {name: f"--{name.replace('_', '-')}" for name in names}


def said_options(arguments: Mapping[str, Any], options: Mapping[str, str], usual: Mapping[str, Any]) -> list[str]:
    """Words for the shell, not quoted yet: options with values by name, then switches.

    Args:
        arguments: of a run record; also of an older version, with others than there are now.
        options: argument -> option; the other arguments are derived, or say where it ran.
        usual: argument -> value that need not be said; neither need what is off or empty.
    """
    words, switches = [], []
    for name, option in sorted(options.items(), key=lambda item: item[1]):
        value = arguments.get(name)
        if value is None or value is False or value in ("", [], ()) or value == usual.get(name):
            continue
        if value is True:
            switches.append(option)
        elif option in REPEATED and not isinstance(value, str):
            words += [word for item in value for word in (option, str(item))]
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
    return words + switches


def typed(words: Sequence[str]) -> str:
    """Words as they are typed after a command: quoted, each with a space before."""
    return "".join(f" {shlex.quote(word)}" for word in words)
