"""Training targets out of head points and boxes: densities, distance maps, instance masks.

Points are (N, 2) pixels, x right, y down, pixel centres at +0.5; a head lies in pixel (floor(x), floor(y)), and one on
the right or bottom edge in the last pixel. Maps are float32 (rows, cols) with rows, cols = ceil(size / stride).
Points outside the image or not finite raise `DataError`: crop and filter them first.
"""

from gigacount.labels.gaussians import adaptive_sigmas, box_density, gaussian_density
from gigacount.labels.instances import MASK_RECIPES, MaskRecipe, boxes_from_points, dot_mask, instance_mask
from gigacount.labels.maps import attention_map, cross_map, iknn_map

__all__ = [
    "MASK_RECIPES",
    "MaskRecipe",
    "adaptive_sigmas",
    "attention_map",
    "box_density",
    "boxes_from_points",
    "cross_map",
    "dot_mask",
    "gaussian_density",
    "iknn_map",
    "instance_mask",
]
