"""The channel to a guest's agent: how it is opened, who is let in, what may come through it."""
