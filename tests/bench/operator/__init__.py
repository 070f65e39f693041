"""What the operator costs, measured from outside on a real control plane.

    make bench-operator N=400                       all phases; RUNS=3 repeats them, ARGS="--profile …" for the rest
    make bench-operator-start N=10000               start-to-synced with that many TFModels stored

Reading order: __main__.py, stage.py (what runs), phases.py (what is measured), window.py (how), fleet.py and agents.py (the
agents of all pods), audit.py, processes.py, profiler.py and profile.py.
"""
