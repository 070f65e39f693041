"""Reads only: what pods, Deployments and agents say now."""
