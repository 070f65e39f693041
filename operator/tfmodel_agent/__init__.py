"""The agent: makes one pod's model server match the mounted `models.config`, safely, and tells the truth about it."""
