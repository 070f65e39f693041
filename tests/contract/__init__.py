"""What the operator and the agent believe about ``tensorflow_model_server``, as tests against a running one.

Each test states one behaviour and where it is known from: a source path of github.com/tensorflow/serving (relative to
``tensorflow_serving/``), or *measured*: seen on a server built from branch r2.20 with TensorFlow 2.21, two CPUs.
Nothing is asserted that was not seen or read there; times are as measured, with room for a slow machine.

By default they run against the stand-in in ``tests/modelserver``. The same tests judge a real server::

    BINARY=/usr/bin/tensorflow_model_server pytest tests/contract
    IMAGE=tensorflow/serving:2.19.1 pytest tests/contract             # needs docker or podman

A difference is a defect of the stand-in, or a change in the server that agent and operator must be looked over for.
"""
