"""What the operator, the agent and the command line share: TF Serving's protocol, model configs, checks, agent state."""
