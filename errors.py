"""The one exception a user sees: raised at the edges, printed by the CLI as a sentence without a traceback."""


class UserError(Exception):
    """Something the user gave cannot be used. The message says what, with what value, and what to do."""
