"""Old names of cleaning's parts and rules, still understood on the command line and in existing work folders."""

NEW_NAMES = {
    # parts of cleaning
    "looks": "views",
    "stays": "static",
    "sobering": "recalibration",
    "likeness": "similarity",
    "ground": "size_prior",
    # rules of cleaning
    "cast": "shadow",
    "crowded": "max_objects",
    "misfit": "residual",
    "unanchored": "no_confident_track",
    "worn": "on_player",
}

# Rules that were removed, because no ablation defended them or the quality weighs what they asked: what they were,
# for reasons in old work folders.
REMOVED_RULES = {
    "isolated": "on no path through the frames around it, and the labeller alone is not sure enough",
    "still": "never leaves its place, and the labeller is not sure enough to call it a ball that lies",
    "class_size": "its size is unlike that of the likely objects of its class in the video",
    "path_size": "its size jumps against the boxes before and after it",
    "residual": "beside the smooth path of its neighbours",
}


def new_name(name: str) -> str:
    """The present name of a part or rule; what was never renamed stays as it is."""
    return NEW_NAMES.get(name, name)
