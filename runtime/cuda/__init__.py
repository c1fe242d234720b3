"""The CUDA device behind one small seam, so that what runs on it is tested without one."""
