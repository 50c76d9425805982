"""Old names, still understood on the command line and in existing work folders: of options, and of cleaning's rules.

An option that became a setting (`--set NAME=VALUE`) under its own name needs no line here.
"""

# Options that are called otherwise today, and how; {} is the old option's value.
OLD_OPTIONS = {
    "--retry-failed": ("--retry", "failed"),
    "--labels": ("--annotations", "{}"),
    "--prompts": ("--class-list", "{}"),
    "--map": ("--class-list", "{}"),
    "--max-per-frame": ("--set", "max_per_frame={}"),
    "--max-overlap": ("--set", "max_overlap={}"),
    "--max-aspect": ("--set", "max_aspect={}"),
    "--min-size": ("--set", "min_size_pixels={}"),
    "--max-frame-share": ("--set", "max_frame_share={}"),
}
# Options that are no more, and why.
GONE_OPTIONS = {
    "--any-side": "on real clips it cost more than it gave",
    "--mixup": "no figure spoke for it",
    "--rand-augment": "no figure spoke for it",
}

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
