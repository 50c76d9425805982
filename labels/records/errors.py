"""The one exception a user is meant to see."""


class InputError(Exception):
    """Something the user gave is wrong. The message is one line: the file or argument, the reason, the way out.

    A stage script prints it without a traceback and exits with code 2. An item that is bad among many is no
    InputError: it becomes a row with a status and a reason.
    """
