"""Pixels of pictures far larger than memory: any window at any size.

reader        GigaImage
info          ImageInfo
picture       a file, checked and opened by its header
source        what its levels come from: tiled (tiles of the file), streamed (one decoding into memory and scratch)
levels        grids of pixels in memory, scratch or tiles
resample      a window of a level at any size: boxes (means, cheap), then libvips' kernels (sharp)
colour        any pixels to sRGB
orientation   EXIF
scratch       the file without a name; pipe: why some formats come through one
vips          libvips behind a few functions
"""

from gigacount.options import ReadOptions

from .info import ImageInfo
from .reader import GigaImage

__all__ = ["GigaImage", "ImageInfo", "ReadOptions"]
