"""Networks and other models on pixels: detectors, recognisers, pose estimators, segmenters, features, checkpoints."""
