"""Names that were given up, and what they are called now: in old work folders, and on the command line."""

NEW_NAMES = {
    # parts of cleaning
    "looks": "views",
    "stays": "static",
    "sobering": "recalibration",
    "likeness": "similarity",
    "ground": "size_prior",
    # rules of cleaning
    "crowded": "max_objects",
    "misfit": "residual",
    "unanchored": "no_confident_track",
    "worn": "on_player",
}


def new_name(name: str) -> str:
    """The present name of a part or rule; what was never renamed stays as it is."""
    return NEW_NAMES.get(name, name)
