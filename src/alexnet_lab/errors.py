"""The one error that is the user's to mend: a sentence, no traceback."""


class UserError(Exception):
    """Says in one sentence which key, file or value is wrong and what to do."""
