"""Kernels in Triton, for CUDA: the same layers as the compiled ones, tested in Triton's interpreter on a CPU."""
