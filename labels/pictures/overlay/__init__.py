"""Pictures of labels on pixels: overlay videos, contact sheets, audits, clips."""
