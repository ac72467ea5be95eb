"""The main job as a play: two nations, one relay, separate processes, public commands."""
