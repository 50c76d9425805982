"""What looks at pixels: detectors, the ball heat-map net, recognisers, checkpoints."""
