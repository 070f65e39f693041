"""A server's pods in virtual time: a volume, agents (their real steps), model servers (the stand-in's real state machine), a
Deployment, and the operator's passes, any of which can be cut off, kept waiting or lied to."""
