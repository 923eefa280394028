"""The Triton kernels and what launches them; nothing here is imported before a kernel is to run."""
