"""Frames of a video, in order, decoded in a limited process of their own."""
