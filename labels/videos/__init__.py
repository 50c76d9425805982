"""Stage 1. Clip lists, downloading, decoding, encoding, single frames, synthetic clips."""
