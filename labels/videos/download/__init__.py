"""Stage 1 from clip lists: plan, fetch with yt-dlp, cut, remember."""
