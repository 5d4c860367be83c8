"""What can go wrong around the tests, not in them."""


class NestedError(Exception):
    """One sentence for the user: what was wrong, where, what to do."""

    exit_code = 3
