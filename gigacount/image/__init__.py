"""Pixels of pictures far larger than memory: any window at any size.

reader        GigaImage
info          ImageInfo
picture       a file, checked and opened by its header
sources       its levels: tiles of the file, or one decoding into memory and scratch
levels        grids of pixels in memory, scratch or tiles
resample      a window of a level at any size
colour        any pixels to sRGB
orientation   EXIF
scratch       the file without a name
vips          libvips behind a few functions
"""

from gigacount.options import ReadOptions

from .info import ImageInfo
from .reader import GigaImage

__all__ = ["GigaImage", "ImageInfo", "ReadOptions"]
