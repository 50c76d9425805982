"""Rally: labels for sports video that get better every round. One room a stage, see README.md."""
