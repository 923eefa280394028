"""How fast the kernels and the model are on a GPU, beside their peers: ``python -m benchmarks.speed.gpu --help``."""
