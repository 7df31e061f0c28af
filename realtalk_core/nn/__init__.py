"""Building blocks that several plugins share: each hot one is a plain-torch reference beside its fast kernel.

Owns: planar hash grids, region attention, ray geometry, marching, compositing, occupancy, the landmark warp, image
losses, and the worker threads that run whole chunks. Does not own: networks of one method, training schedules, files.
"""
