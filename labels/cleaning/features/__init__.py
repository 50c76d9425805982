"""What cleaning knows of each box: pure functions over the boxes of one video."""
