"""What can go wrong while an image is found or built."""


class ImageError(Exception):
    """One sentence for the user: what was wrong, where, what to do."""

    exit_code = 1


class UnfitHostError(ImageError):
    """This host cannot build images; the sentence says what it lacks and how to install it."""

    exit_code = 3
