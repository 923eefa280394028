"""How fast gptapps is beside transformers, on the machine this runs on: ``python -m benchmarks.speed --help``."""
