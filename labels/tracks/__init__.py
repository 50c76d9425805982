"""Boxes over time: camera motion, scene cuts, association, Kalman filter and smoother."""
