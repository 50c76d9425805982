"""What recognises actions in windows of pixels or joints."""
