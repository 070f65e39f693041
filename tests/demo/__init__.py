"""`make demo`: the main job from nothing, on this machine or on the cluster of your kubeconfig."""
