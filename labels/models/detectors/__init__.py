"""What finds boxes in frames."""
