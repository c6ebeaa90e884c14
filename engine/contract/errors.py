"""The error that users can fix."""


class UserError(ValueError):
    """A user's option, value or file is invalid; the message names it and what was expected.

    Scripts show it as one line. Any other error in a project's code is a bug, and shows its traceback.
    """
