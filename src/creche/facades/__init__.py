"""What a runner looks like to code that knows nothing of creche: the interfaces that others know."""
