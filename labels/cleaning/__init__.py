"""Stage 3. Rules, tracks, merging of rounds, decisions. No torch."""
