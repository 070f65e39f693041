"""Version rollouts as a pure function: ``planner.plan_rollout(desired, facts, now)`` gives the next safe step.

The planner decides what *all* pods of a server should serve next (:class:`config.Config`) and in which pod template; each
pod's agent follows that config in steps that are safe for its own model server (grow, then shrink). So the planner never has
to think of one pod's order of loading; it has to think of pods that are at different stages, silent, new, or gone.

It remembers nothing. What has happened is read from what is published, from what the agents say, and from a small record
(:mod:`record`) that is kept beside the config and may be lost: then what is published and what the pods serve say which
versions had passed, and clocks start anew. A pass may be repeated or cut off after any write; the next one carries on.

``facts`` → ``situation`` (what is so: promoted, in motion, wanted) → ``planner`` (an ordered list of rules; the first that
applies gives the step) → ``narrate`` (status).
"""
