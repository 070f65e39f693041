"""A stand-in for ``tensorflow_model_server``, for tests only.

No binary of TensorFlow Serving can be had where these tests run, so this package plays it: the same flags, ports,
protobufs, files and, above all, the same *faults*, each from the same cause as in the original. It loads real
SavedModels with TensorFlow's C++ loader (through its C API: the library is up in half a second, ``import tensorflow``
takes five) and runs them.

Nothing here is a test hook. A test that wants a fault writes the file, config or flag that causes it in reality, and the
same test then runs against a real server (``tests/contract``).

The shape follows the original's, because the faults follow from that shape::

    flags ─▶ server ─▶ core (one mutex around ReloadConfig) ──▶ source (polls base paths every second)
               │         │  labels, monitor (waits for states)        │ aspired versions
               │         ▼                                            ▼
        grpc_server   bundle (a loaded model) ◀── loaders ◀── manager (100 ms tick, policy) ─▶ servables (load, unload)
        rest ─▶ inference

Paths in docstrings such as ``core/basic_manager.cc`` are relative to ``tensorflow_serving/`` in
github.com/tensorflow/serving and name the behaviour that is reproduced; no code is taken from there.
"""
