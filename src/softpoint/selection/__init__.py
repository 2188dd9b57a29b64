"""The loop back to labeling: images whose labels would help most, and labels that are unlikely."""
